import contextlib
import json
import logging
import os
import stat
from pathlib import Path

import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import LogFile, Run, checkpoint_file, config_hash, write_whole


def test_file_and_folder_are_on_the_disk_before_the_write_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    write_whole(tmp_path / "file", b"new")
    assert synced == [False, True]


def test_an_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_whole(tmp_path / "file", b"new")
    assert error.value.filename == str(tmp_path / "file")


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_whole(file, b"old")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


CONFIG = {"seed": 0, "resume": "auto", "data": {"dir": "data", "batch_size": 64}, "model": {"channels": [1, 2]}}


def test_the_hash_is_of_what_decides_the_result() -> None:
    elsewhere = CONFIG | {"resume": "never", "data": {"batch_size": 64, "dir": "other"}}
    assert config_hash(CONFIG) == config_hash(elsewhere)
    for change in ({"seed": 1}, {"data": {"dir": "data", "batch_size": 32}}, {"model": {"channels": [2, 1]}}):
        assert config_hash(CONFIG) != config_hash(CONFIG | change)


def test_a_run_is_complete_for_its_own_configuration(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert not run.is_complete("abc")
    run.open()
    run.finish({"status": "complete", "config_hash": "abc"})
    assert run.is_complete("abc")
    assert not run.is_complete("def")
    run.open()  # begun again
    assert not run.is_complete("abc")


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_result_that_is_none_is_no_result(content: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content)
    assert Run(tmp_path).result() == {}


def hydra_started(path: Path) -> Run:
    path.mkdir(parents=True)
    (path / "train.log").touch()
    return Run(path)


def test_an_empty_run_is_discarded_with_the_folders_under_outputs(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    hydra_started(outputs / "2026-01-01" / "12-00-00").discard_if_empty(outputs)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, mine = tmp_path / "outputs", tmp_path / "mine"
    hydra_started(mine / "run").discard_if_empty(outputs)
    assert list(tmp_path.iterdir()) == [mine]
    monkeypatch.chdir(mine)
    (mine / "train.log").touch()
    Run(mine).discard_if_empty(outputs)
    assert mine.is_dir()


def test_a_run_with_anything_of_value_is_not_discarded(tmp_path: Path) -> None:
    run = hydra_started(tmp_path / "run")
    (run.path / "notes.txt").touch()
    run.discard_if_empty()
    assert (run.path / "train.log").exists()


def test_a_run_begun_afresh_keeps_nothing_of_the_one_before(tmp_path: Path) -> None:
    run = Run(tmp_path)
    files = [run.last, run.last.with_name("best.ckpt"), run.metrics, run.path / "result.json"]
    for file in files:
        write_whole(file, b"{}")
    run.open(resume_from=run.last)
    assert [file.exists() for file in files] == [True, True, True, False]
    run.open(resume_from=files[1])
    assert [file.exists() for file in files] == [False, True, False, False]
    run.open()
    assert not any(file.exists() for file in files)


def test_latest_points_to_the_newest_run_under_outputs(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for name in ("a", "b"):
        run = Run(outputs / "day" / name)
        run.path.mkdir(parents=True)
        run.link_latest(outputs)
    Run(tmp_path / "elsewhere").link_latest(outputs)
    assert (outputs / "latest").resolve() == outputs / "day" / "b"
    assert not Path((outputs / "latest").readlink()).is_absolute()  # outputs may be moved
    Run(outputs / "latest").link_latest(outputs)  # resumed by that name
    assert {entry.name for entry in outputs.iterdir()} == {"day", "latest"}
    assert (outputs / "latest").resolve() == outputs / "day" / "b"


def test_a_checkpoint_is_found_by_run_or_file_or_named_as_missing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(InputError, match="there is no checkpoint"):
        checkpoint_file(tmp_path)
    write_whole(run.last, json.dumps({}).encode())
    assert checkpoint_file(tmp_path) == checkpoint_file(run.last) == run.last


def test_one_process_at_a_time_trains_in_a_directory(tmp_path: Path) -> None:
    run, other = Run(tmp_path / "run").locked(), Run(tmp_path / "run").locked()
    with run, pytest.raises(InputError, match="run is in use by another process"):
        other.__enter__()
    with Run(tmp_path / "run").locked():
        pass


def test_what_a_dead_process_was_writing_is_swept_away(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.last.parent.mkdir()
    for half in (run.last.parent / ".last.ckpt.7.tmp", tmp_path / ".result.json.7.tmp"):
        half.write_bytes(b"half")
    run.sweep()
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == []


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("here")
    handler = LogFile("/dev/full")
    logger.addHandler(handler)
    logger.error("one")
    logger.error("two")
    with contextlib.suppress(OSError):
        handler.close()
    assert capsys.readouterr().err == "warning: /dev/full cannot be written: No space left on device; going on\n"
