"""A part of `python -m tests.faults`, in processes that are killed, stopped and left without disk."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import posix
from tests.faults import Case, __main__, checkpoints, disks, keras_files, pictures, power, runs, sweeps

pytestmark = posix


def went_well(cases: Iterable[Case], at_least: int) -> bool:
    cases = list(cases)
    assert not [case for case in cases if case.wrong]
    return len(cases) >= at_least


@pytest.mark.long
def test_killed_and_stopped_runs_resume_bit_identically(tmp_path: Path) -> None:
    assert went_well(runs.kills(tmp_path, 2), at_least=2)
    assert went_well(runs.signals(tmp_path, 2), at_least=2)


@pytest.mark.long
def test_a_sweep_that_is_killed_goes_on_and_several_processes_share_one(tmp_path: Path) -> None:
    assert went_well(sweeps.kills(tmp_path, 5), at_least=1)
    assert went_well(sweeps.drivers(tmp_path, 1), at_least=1)


def test_a_run_whose_disk_was_full_at_any_write_resumes_bit_identically(tmp_path: Path) -> None:
    assert went_well(disks.full_disks(tmp_path, every=8), at_least=2)


def test_a_power_cut_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    assert went_well(power.cases(tmp_path, every=20), at_least=40)


def test_checkpoints_that_do_not_fit_are_not_resumed(tmp_path: Path) -> None:
    assert went_well(checkpoints.cases(tmp_path, 8), at_least=40)


def test_damaged_pictures_are_read_or_refused(tmp_path: Path) -> None:
    assert went_well(pictures.cases(tmp_path, 60), at_least=60)


def test_keras_files_that_strangers_could_make_are_refused(tmp_path: Path) -> None:
    assert went_well(keras_files.cases(tmp_path), at_least=19)


def test_the_table_counts_what_went_wrong() -> None:
    cases = [Case("disk", "full"), Case("disk", "full", "lost a row", 1.5), Case("data", "404", seconds=0.25)]
    data, disk = __main__.table(cases)
    assert " 1 of      1    0.25 s" in data
    assert disk.split() == ["disk", "full", "1", "of", "2", "1.50", "s", "lost", "a", "row"]
