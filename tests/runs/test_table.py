"""The table folds seeds, ranks by validation accuracy and never by the test, and marks what is not complete."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.rendering import align_to_fit
from mnist_cnn.runs.table import compare, find_runs
from mnist_cnn.settings import compose

Runs = dict[Run, Sequence[str]]


def add(folder: Path, overrides: str, figures: Mapping[str, Any], status: str = "complete") -> tuple[Run, list[str]]:
    run, given = Run(folder / overrides.replace(" ", ",")), overrides.split()
    run.path.mkdir(parents=True)
    run.finish({"status": status, "overrides": given, "epochs": 5, "seconds_per_epoch": [1.0, 2.5], **figures})
    return run, given


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Two paddings with two seeds each; the worse on validation is the better on the test."""
    return dict(
        add(tmp_path, f"trainer=cpu model.padding={padding} seed={seed}", {"val/acc": val, "test/acc": 1 - val})
        for padding, seed, val in [("valid", 0, 0.5), ("valid", 1, 0.75), ("same", 0, 0.875), ("same", 1, 1.0)]
    )


def test_a_row_holds_what_was_swept_and_the_mean_over_seeds(runs: Runs) -> None:
    table = compare(runs)
    assert table.keys == ["model.padding"]
    head, best, worst = table.cells()
    assert head == ["model.padding", "n", "status", "epochs", "seconds", "val/acc", "test/acc"]
    assert best == ["same", "2", "complete", "5", "3.5", "0.9375 ± 0.0884", "0.0625 ± 0.0884"]
    assert worst[:2] == ["valid", "2"]
    assert best[5] == f"0.9375 ± {stdev([0.875, 1.0]):.4f}"


def test_rows_are_ranked_by_validation_accuracy(runs: Runs) -> None:
    assert [row.swept["model.padding"] for row in compare(runs).rows] == ["same", "valid"]
    assert compare(runs).note == "ranked by val/acc"
    by_test = compare(runs, "test/acc")
    assert [row.swept["model.padding"] for row in by_test.rows] == ["valid", "same"]
    assert [row.swept["model.padding"] for row in compare(runs, "model.padding").rows] == ["same", "valid"]


def test_low_losses_and_times_come_first(tmp_path: Path) -> None:
    runs = dict(add(tmp_path, f"lr={lr}", {"train/loss": lr}) for lr in (3, 1, 2))
    for column in ("train/loss", "epochs"):
        values = [row.swept["lr"] for row in compare(runs, column).rows]
        assert values == (["1", "2", "3"] if column == "train/loss" else ["3", "1", "2"])


def test_without_a_validation_split_nothing_is_ranked(tmp_path: Path) -> None:
    runs = dict(add(tmp_path, f"lr={lr}", {"test/acc": lr / 10}) for lr in (1, 3, 2))
    table = compare(runs)
    assert [row.swept["lr"] for row in table.rows] == ["1", "3", "2"]
    assert table.note == "not ranked: no validation split: set data.val_size"


def test_configurations_that_lack_seeds_are_marked_and_not_ranked(runs: Runs, tmp_path: Path) -> None:
    runs |= dict([add(tmp_path, "trainer=cpu model.padding=full seed=0", {"val/acc": 1.0})])
    failed = add(tmp_path, "trainer=cpu model.padding=full seed=1", {"val/acc": 1.0}, "failed")
    table = compare(runs | dict([failed]))
    assert [row.swept["model.padding"] for row in table.rows] == ["same", "valid", "full"]
    assert table.note == "ranked by val/acc; rows with fewer complete runs come last"
    assert table.cells()[-1][:3] == ["full", "1", "1 complete, 1 failed"]
    assert table.rows[-1].figures["val/acc"] == [1.0]


def test_runs_that_are_not_complete_have_a_status_and_no_figures(tmp_path: Path) -> None:
    waiting, interrupted, running = (Run(tmp_path / name) for name in ("waiting", "interrupted", "running"))
    interrupted.last.parent.mkdir(parents=True)
    interrupted.last.touch()
    with running.locked():
        table = compare({waiting: ["a=1"], interrupted: ["a=2"], running: ["a=3"]})
    assert table.cells() == [
        ["a", "n", "status"], ["1", "0", "waiting"], ["2", "0", "interrupted"], ["3", "0", "running"]
    ]  # fmt: skip
    assert table.note == "not ranked: no run is complete"


def test_the_formats_say_the_same(runs: Runs) -> None:
    table = compare(runs)
    records = json.loads(table.render("json"))
    assert records[0] == {
        "model.padding": "same", "n": 2, "status": "complete",
        "parameters": None, "parameters_sd": None, "epochs": 5.0, "epochs_sd": 0.0, "seconds": 3.5,
        "seconds_sd": 0.0, "train/loss": None, "train/loss_sd": None, "train/acc": None, "train/acc_sd": None,
        "val/loss": None, "val/loss_sd": None, "val/acc": 0.9375, "val/acc_sd": 0.088388, "test/loss": None,
        "test/loss_sd": None, "test/acc": 0.0625, "test/acc_sd": 0.088388,
        "best_epoch": None, "best_epoch_sd": None, "test/f1": None, "test/f1_sd": None,
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(table.render("csv"))))
    assert [row["val/acc"] for row in rows] == [str(record["val/acc"]) for record in records]
    lines = table.render("markdown").splitlines()
    assert {line.count("|") for line in lines[:4]} == {8}
    assert len({len(line) for line in lines[:4]}) == 1
    assert table.render().splitlines()[-1] == "ranked by val/acc"


def test_runs_are_found_in_any_depth(runs: Runs, tmp_path: Path) -> None:
    assert {run.path for run in find_runs(tmp_path.parent)} >= {run.path for run in runs}
    assert find_runs(tmp_path) == runs


def test_a_run_that_is_not_complete_keeps_its_overrides(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with run.locked():
        run.begin("seed: 0\n", "- seed=0\n- model.padding=same\n")
        assert find_runs(tmp_path) == {run: ["seed=0", "model.padding=same"]}


def test_what_cannot_be_compared_is_refused(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(InputError, match=r"holds no runs: give the folder of a sweep$"):
            find_runs(folder)
    with pytest.raises(InputError, match=r"--sort=val/ac is not known: .*\(did you mean val/acc\?\)$"):
        compare(runs, "val/ac")


@pytest.mark.parametrize("content", ['{"status": "complete"}', '{"status": "new", "epochs": []}', "[]", "{", ""])
def test_a_result_that_is_damaged_or_from_another_version_costs_only_its_figures(content: str, tmp_path: Path) -> None:
    run, _ = add(tmp_path, "a=1", {})
    (run.path / "result.json").write_text(content)
    assert len(compare(find_runs(tmp_path)).rows) == 1


def trained(
    folder: Path, overrides: str, settings: dict[str, Any], figure: float = 0.5, **more: Any
) -> tuple[Run, list[str]]:
    return add(folder, overrides, {"val/acc": figure, "settings": settings, **more})  # type: ignore[dict-item]


def test_an_outdated_run_counts_nowhere_and_is_named(tmp_path: Path) -> None:
    settings = decisive(compose("data.name=sample").to_dict())
    runs = dict(trained(tmp_path, f"data.name=sample seed={seed}", settings | {"seed": seed}) for seed in range(3))
    old, given = trained(tmp_path, "data.name=sample seed=3", settings | {"seed": 3, "optimizer.lr": 0.5}, 1.0)
    table = compare(runs | {old: given})
    (row,) = table.rows
    assert (row.n, row.figures["val/acc"]) == (3, [0.5] * 3)
    assert table.cells()[1][:2] == ["3", "3 complete, 1 outdated"]
    assert table.outdated == {old: {"optimizer.lr": (0.5, 0.001)}}


def test_settings_in_which_equal_overrides_differ_become_columns(tmp_path: Path) -> None:
    """As in runs that a script trained, without overrides; and where the sample stood in for MNIST."""
    runs = dict(
        [
            trained(tmp_path / "a", "", {"seed": 0, "model.padding": "same"}, 0.5, dataset="mnist"),
            trained(tmp_path / "b", "", {"seed": 1, "model.padding": "same"}, 0.75, dataset="mnist"),
            trained(tmp_path / "c", "", {"seed": 0, "model.padding": "valid"}, 1.0, dataset="mnist-sample"),
        ]
    )
    table = compare(runs)
    assert [row.swept for row in table.rows] == [
        {"dataset": "mnist", "model.padding": "same"}, {"dataset": "mnist-sample", "model.padding": "valid"}
    ]  # fmt: skip
    assert [row.n for row in table.rows] == [2, 1]


def test_a_copy_of_a_run_counts_once(tmp_path: Path) -> None:
    settings = decisive(compose("optimizer=adam").to_dict())
    runs = [trained(tmp_path, given, settings) for given in ("optimizer=adam", "optimizer=adam seed=0")]
    assert [row.n for row in compare(dict(runs)).rows] == [1]


def test_what_decides_no_result_makes_rows_where_it_was_swept_on_purpose(tmp_path: Path) -> None:
    settings = decisive(compose().to_dict())
    on_purpose = dict(trained(tmp_path / "a", f"threads={threads}", settings) for threads in (1, 2))
    assert compare(on_purpose).keys == ["threads"]
    by_chance = {Run(tmp_path / "b" / str(threads)): [f"threads={threads}"] for threads in (1, 2)}
    assert compare(by_chance).keys == []


@pytest.mark.parametrize("values", [("1e26", "2e26"), ("Infinity", "1.0"), ("NaN", "NaN"), ("-1e300", "1e308")])
@pytest.mark.parametrize("kind", ["text", "csv", "json", "markdown"])
def test_a_table_survives_every_value(values: tuple[str, str], kind: str, tmp_path: Path) -> None:
    for number, value in enumerate(values):
        run, _ = add(tmp_path, f"seed={number}", {"train/loss": 1234567890.5})
        file = run.path / "result.json"
        file.write_text(file.read_text().replace("1234567890.5", value))
    said = compare(find_runs(tmp_path)).render(kind)
    assert "nan" not in said.lower()
    if values[0] == "1e26" and kind == "text":
        assert "1.5e+26 ± 7.1e+25" in said


def test_a_narrow_terminal_shows_shared_values_above_the_table_and_leaves_columns_out(tmp_path: Path) -> None:
    figures = ("train/loss", "train/acc", "val/loss", "test/loss", "test/acc", "test/f1")
    runs = dict(
        add(tmp_path, f"model.padding={padding} seed={seed}", {"val/acc": val, **dict.fromkeys(figures, val + seed)})
        for padding, val in (("same", 0.5), ("valid", 0.75))
        for seed in (0, 1)
    )
    table = compare(runs)
    assert table.render(width=300) == table.render()
    assert max(map(len, table.render().splitlines())) > 80
    above, head, best, worst, left_out, note = table.render(width=80).splitlines()
    assert above == "n 2  status complete  epochs 5  seconds 3.5"
    assert head.split() == ["padding", "val/acc", "test/loss", "test/acc", "test/f1"]
    assert best.startswith("valid    0.7500 ± 0.0000  1.2500 ± 0.7071")
    assert (worst.split()[0], max(map(len, (head, best, worst)))) == ("same", len(best))
    assert left_out == "no room for train/loss, train/acc, val/loss"
    assert note == "ranked by val/acc"
    by_loss = compare(runs, "train/loss").render(width=80).splitlines()
    assert by_loss[1].split() == ["padding", "train/loss", "test/loss", "test/acc", "test/f1"]


def test_columns_that_share_nothing_leave_no_line_above(tmp_path: Path) -> None:
    lines = [["a.key", "b.key", "loss"], ["x" * 20, "y" * 20, "0.1"], ["z" * 20, "w" * 20, "0.2"]]
    head, *_, note = align_to_fit(lines, 45, ["loss"])
    assert head.split() == ["a.key", "b.key"]  # key alone would be both
    assert note == "no room for loss"
    first, _ = align_to_fit(lines, 30, ["loss"])  # too narrow for the keys
    assert first.split("\n") == [f"a.key {'x' * 20}", f"  b.key {'y' * 20}", "  loss 0.1"]


def test_one_row_is_written_as_names_and_values(tmp_path: Path) -> None:
    runs = dict([add(tmp_path, "seed=0", {"val/acc": 0.5})])
    assert compare(runs).render(width=36).splitlines() == [
        "n 1  status complete  epochs 5",
        "  seconds 3.5  val/acc 0.5000",
        "ranked by val/acc",
    ]


def test_a_folder_that_vanishes_or_cannot_be_read_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = add(tmp_path, "seed=0", {})
    for name in ("gone", "private"):
        (tmp_path / name).mkdir()
    scandir = os.scandir

    def fail(folder: Any) -> Any:
        error = {"gone": FileNotFoundError, "private": PermissionError}.get(Path(folder).name)
        if error:
            raise error(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", fail)
    assert [*find_runs(tmp_path)] == [run]
