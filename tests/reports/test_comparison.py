"""The best row against the others: paired t-tests, held against the closed form for three pairs."""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import pytest

from mnist_cnn.reports.comparison import compare_with_best, holm, paired_by, paired_p
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.rendering import Row


def row(folder: Path, name: str, by_seed: Mapping[int, float], fold: int = 0) -> Row:
    made = Row({"optimizer": name})
    for seed, accuracy in by_seed.items():
        run = Run(folder / f"{name}-{seed}")
        run.path.mkdir()
        run.finish({"settings": {"seed": seed, "data.fold": fold}, "val/acc": accuracy})
        made.add(run, "complete")
    return made


def test_three_pairs_have_the_p_value_of_the_closed_form() -> None:
    pairs = [(0.93, 0.92), (0.95, 0.91), (0.96, 0.94)]
    differences = [first - second for first, second in pairs]
    t = mean(differences) / (stdev(differences) / sqrt(3))
    assert paired_p(pairs) == pytest.approx(1 - t / sqrt(2 + t**2))  # Student's distribution, 2 degrees of freedom


@pytest.mark.parametrize("pairs", [[], [(0.9, 0.8)], [(0.9, 0.8), (0.8, 0.7)], [(0.9, 0.9), (0.8, 0.8)]])
def test_what_cannot_be_tested_has_no_p_value(pairs: list[tuple[float, float]]) -> None:
    assert paired_p(pairs) is None


def test_holm_multiplies_by_the_number_of_tests_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_only_shared_seeds_are_compared_and_p_values_are_corrected(tmp_path: Path) -> None:
    best = row(tmp_path, "adam", {0: 0.93, 1: 0.95, 2: 0.96})
    other = row(tmp_path, "sgd", {2: 0.94, 1: 0.91, 0: 0.92, 7: 0.99})
    alone = row(tmp_path, "nadam", {2: 0.95, 8: 0.9})
    worse = row(tmp_path, "rmsprop", {0: 0.83, 1: 0.84, 2: 0.86})
    first, lonely, last = compare_with_best([best, other, alone, worse], "val/acc")
    assert first.differences == pytest.approx([1, 4, 2])
    first_p = paired_p([(0.93, 0.92), (0.95, 0.91), (0.96, 0.94)])
    last_p = paired_p([(0.93, 0.83), (0.95, 0.84), (0.96, 0.86)])
    assert first_p is not None
    assert last_p is not None
    assert [first.p, last.p] == pytest.approx([first_p, 2 * last_p])
    assert first.describe("val/acc", "adam", "sgd") == (
        "adam is ahead of sgd by 2.33 ± 1.53 points of val/acc (mean and sd of n = 3 differences, paired by seed, "
        f"p = {first_p:.2g}): this may be chance; with n = 3, only large differences can be shown."
    )
    assert lonely.describe("val/acc", "adam", "nadam").endswith("with fewer than 2, no test is possible.")


def test_a_clear_difference_is_said_without_reserve(tmp_path: Path) -> None:
    best = row(tmp_path, "adam", {seed: 0.95 + seed / 1000 for seed in range(5)})
    other = row(tmp_path, "sgd", {seed: 0.9 + seed / 2000 for seed in range(5)}, fold=1)
    assert paired_by([best]) == "seed"
    assert paired_by([best, other]) == "seed and fold"
    other = row(tmp_path, "rmsprop", {seed: 0.9 + seed / 2000 for seed in range(5)})
    (found,) = compare_with_best([best, other], "val/acc")
    said = found.describe("val/acc", "adam", "rmsprop")
    assert said.startswith(
        "adam is ahead of rmsprop by 5.10 ± 0.08 points of val/acc (mean and sd of n = 5 differences, "
    )
    assert said.endswith("paired by seed, p < 0.001).")
