"""Successive halving: all trials to the first rung, the best of them to the next; what was cut goes first."""

from pathlib import Path

import pytest

from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import Run
from mnist_cnn.searches.trials import WAIT, Step, Trial, add_trial, next_step, read_trials, rungs, survivors, winner

LEVELS, REDUCTION = [1, 3, 5], 2


def trial(number: int, *scores: float, folder: Path = Path("nowhere")) -> Trial:
    return Trial(number, {"lr": number}, Run(folder / f"trial-{number:03}"), scores)


@pytest.mark.parametrize(
    ("epochs", "reduction", "expected"),
    [(5, 3, [1, 3, 5]), (9, 3, [1, 3, 9]), (10, 3, [1, 3, 9, 10]), (1, 3, [1]), (2, 3, [1, 2]), (8, 2, [1, 2, 4, 8])],
)
def test_rungs_are_powers_of_the_reduction_and_the_last_epoch(epochs: int, reduction: int, expected: list[int]) -> None:
    assert rungs(epochs, reduction) == expected


def test_new_trials_come_before_promotions() -> None:
    trials = [trial(0, 0.9), trial(1, 0.5)]
    assert next_step(trials, 3, LEVELS, REDUCTION) == Step(None, 1)
    assert next_step(trials, 2, LEVELS, REDUCTION) == Step(trials[0], 3)


def test_the_best_are_promoted_rung_by_rung() -> None:
    trials = [trial(0, 0.5), trial(1, 0.7), trial(2, 0.9), trial(3, 0.8)]
    assert next_step(trials, 4, LEVELS, REDUCTION) == Step(trials[2], 3)
    trials[2] = trial(2, 0.9, 0.9, 0.9)
    assert next_step(trials, 4, LEVELS, REDUCTION) == Step(trials[3], 3)
    trials[3] = trial(3, 0.8, 0.9, 0.95)
    assert next_step(trials, 4, LEVELS, REDUCTION) == Step(trials[3], 5)
    trials[3] = trial(3, 0.8, 0.9, 0.95, 0.95, 0.96)
    assert next_step(trials, 4, LEVELS, REDUCTION) is None
    assert winner(trials, 5) == trials[3]


def test_a_trial_that_was_interrupted_goes_first() -> None:
    trials = [trial(0, 0.5), trial(1), trial(2, 0.9, 0.9)]
    assert next_step(trials, 9, LEVELS, REDUCTION) == Step(trials[1], 1)
    trials[1] = trial(1, 0.5)
    assert next_step(trials, 9, LEVELS, REDUCTION) == Step(trials[2], 3)


def test_failed_trials_are_left_out(tmp_path: Path) -> None:
    failed = trial(0, 0.99, folder=tmp_path)
    failed.run.path.mkdir()
    failed.run.fail("diverged", [])
    trials = [failed, trial(1, 0.5), trial(2, 0.6)]
    assert next_step(trials, 3, LEVELS, REDUCTION) == Step(trials[2], 3)
    assert winner([failed], 1) is None


def test_what_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    trials = [trial(0, 0.5, folder=tmp_path), trial(1, folder=tmp_path), trial(2, 0.9, folder=tmp_path)]
    with trials[1].run.locked():
        assert next_step(trials, 4, LEVELS, REDUCTION) == Step(None, 1)
        assert next_step(trials, 3, LEVELS, REDUCTION) is WAIT
        assert next_step(trials, 3, [5], REDUCTION) == Step(trials[0], 5)
    with trials[2].run.locked():
        assert next_step([trials[0], trials[2]], 2, LEVELS, REDUCTION) is WAIT
    alone = trial(0, 0.5, folder=tmp_path)
    with alone.run.locked():
        assert next_step([alone], 1, [5], REDUCTION) is WAIT


def test_of_equals_the_earlier_goes_on_and_one_always_does() -> None:
    trials = [trial(number, 0.5) for number in range(5)]
    assert [each.number for each in survivors(trials, 1, 2)] == [0, 1]
    assert [each.number for each in survivors(trials[:1], 1, 3)] == [0]
    assert winner([trial(1, 0.5), trial(0, 0.5)], 1) == trial(0, 0.5)


def test_trials_are_written_and_read(tmp_path: Path) -> None:
    add_trial(tmp_path, 1, {"optimizer": "adam", "optimizer.lr": 0.01})
    first = add_trial(tmp_path, 0, {"optimizer": "sgd"})
    write_atomically(first.run.metrics, b"epoch,step,train/acc,val/acc\n1,63,0.5,0.25\n2,126,0.6,0.75\n")
    trials = read_trials(tmp_path)
    assert [each.number for each in trials] == [0, 1]
    assert trials[0].scores == (0.25, 0.75)
    assert trials[1].overrides == ["optimizer=adam", "optimizer.lr=0.01"]
