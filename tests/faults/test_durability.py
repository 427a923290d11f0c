"""The states that `Disk` builds, for a few writers that do not sync, and one that does."""

import os
from pathlib import Path

import pytest

from tests.faults.durability import Disk, Tree, build

LOST = [b"", b"ab", b"ab\0\0", b"abcd"]  # what may be read of abcd if that was not synced


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def contents(disk: Disk, name: str = "file") -> set[object]:
    return {tree.get(name, "missing") for tree in disk.states.values()}


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def test_a_new_file_that_is_not_synced_may_be_missing_empty_or_cut(tmp_path: Path, disk: Disk) -> None:
    with disk.recorded():
        (tmp_path / "file").write_bytes(b"abcd")
    assert contents(disk) == {"missing", *LOST}


def test_a_file_that_is_written_in_place_is_there_old_or_cut(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with disk.recorded():
        (tmp_path / "file").write_bytes(b"abcd")
    assert contents(disk) == {b"old", *LOST}


def test_a_synced_file_may_lack_its_name_until_the_folder_is_synced(tmp_path: Path, disk: Disk) -> None:
    with disk.recorded():
        (tmp_path / "file").write_bytes(b"abcd")
        sync(tmp_path / "file")
        assert [*disk.left().values()] == [{}, {"file": b"abcd"}]
        sync(tmp_path)
        assert [*disk.left().values()] == [{"file": b"abcd"}]


def test_a_rename_may_reach_the_disk_before_the_content(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with disk.recorded():
        (tmp_path / "new").write_bytes(b"abcd")
        (tmp_path / "new").replace(tmp_path / "file")
    assert contents(disk) == {b"old", *LOST}


def test_a_name_that_is_removed_and_made_again_may_be_missing(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "link").symlink_to("a")
    with disk.recorded():
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("b")
    assert contents(disk, "link") == {"a", "missing", "b"}


def test_removals_in_two_folders_may_be_swapped(tmp_path: Path, disk: Disk) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with disk.recorded():
        for name in ("a", "b"):
            (tmp_path / name / "file").unlink()
    left = [{name for name in tree if name.endswith("file")} for tree in disk.states.values()]
    assert sorted(map(len, left)) == [0, 1, 1, 2]


def test_a_state_is_built_as_it_is_described(tmp_path: Path) -> None:
    tree: Tree = {"folder": None, "folder/file": b"abcd", "link": "folder"}
    build(tree, tmp_path / "built")
    built = Disk(tmp_path / "built")
    with built.recorded():
        pass
    assert [*built.left().values()] == [tree]
