import errno
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from mnist_cnn import files
from mnist_cnn.files import link_atomically, locked, relative, remove, sync_path, write_atomically
from mnist_cnn.runs.directory import Run
from tests.conftest import posix
from tests.faults.durability import Disk, Tree


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def interrupted(_: int) -> None:
    raise KeyboardInterrupt


def test_content_and_folders_are_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file"
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(("fault", "error"), [(full, OSError), (interrupted, KeyboardInterrupt)])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    fault: Callable[[int], None], error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")
    monkeypatch.setattr(os, "fsync", fault)
    with pytest.raises(error):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_atomically(tmp_path / "file", b"new")
    assert error.value.filename == str(tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory|File exists") as error:
        write_atomically(tmp_path / "file" / "below", b"new")
    assert error.value.filename == str(tmp_path / "file" / "below")


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process removes nothing
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "last.ckpt", b"half, and longer")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == [".last.ckpt.tmp"]
    write_atomically(tmp_path / "last.ckpt", b"whole")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("last.ckpt", b"whole")]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def left(disk: Disk) -> list[Tree]:
    """What a power cut may leave now."""
    return [*disk.left().values()]


def test_a_file_in_new_folders_survives_a_power_cut(tmp_path: Path, disk: Disk) -> None:
    with disk.recorded():
        write_atomically(tmp_path / "new" / "folder" / "file", b"content")
    assert left(disk) == [{"new": None, "new/folder": None, "new/folder/file": b"content"}]


def test_a_removed_file_does_not_come_back(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").touch()
    with disk.recorded():
        remove(tmp_path / "file")
    assert left(disk) == [{}]


def test_a_file_that_a_killed_process_removed_does_not_come_back(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").touch()
    with disk.recorded():
        (tmp_path / "file").unlink()
        remove(tmp_path / "file")
    assert left(disk) == [{}]


def test_a_file_in_a_missing_folder_need_not_be_removed(tmp_path: Path) -> None:
    remove(tmp_path / "missing" / "file")


def test_folders_that_another_program_made_survive_once_their_path_is_synced(tmp_path: Path, disk: Disk) -> None:
    with disk.recorded():
        (tmp_path / "day" / "run").mkdir(parents=True)
        assert {} in left(disk)
        sync_path(tmp_path / "day" / "run")
    assert left(disk) == [{"day": None, "day/run": None}]


def test_a_link_is_never_missing_while_it_is_replaced(tmp_path: Path, disk: Disk) -> None:
    link_atomically(tmp_path / "latest", Path("a"))
    with disk.recorded():
        link_atomically(tmp_path / "latest", Path("b"))
    assert {tree["latest"] for tree in disk.states.values()} == {"a", "b"}
    assert left(disk) == [{"latest": "b"}]


@pytest.mark.parametrize(("number", "goes_on"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_need_not_sync_folders(
    number: int, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files._warn_once.cache_clear()

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with nullcontext() if goes_on else pytest.raises(OSError, match=os.strerror(number)):
        write_atomically(tmp_path / "file", b"new")
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    warning = "warning: this file system cannot sync folders: a power failure may undo the newest files"
    assert caplog.messages == [warning] * goes_on


@posix
@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, ""), OSError(errno.ENOTSUP, ""), NotImplementedError()])
def test_a_file_system_need_not_have_locks(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise error

    files._warn_once.cache_clear()
    monkeypatch.setattr("fcntl.flock", refuse)
    for name in ("a", "b"):
        with locked(tmp_path / name), locked(tmp_path / name, timeout=0):
            assert not Run(tmp_path).is_in_use()
    (message,) = caplog.messages
    assert message.startswith("warning: this file system has no locks: two processes")


@posix
def test_a_lock_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "a"):
        pass


def test_a_folder_above_that_may_not_be_read_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def refuse(path: Path, *_: int) -> int:
        opened.append(path)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    sync_path(tmp_path)
    assert opened[0] == tmp_path.parent


def test_a_path_is_relative_but_on_another_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_drive(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert relative(tmp_path / "run", str(tmp_path)) == "run"
    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert relative(tmp_path / "run") == str(tmp_path / "run")
