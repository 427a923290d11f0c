"""outputs/latest names the newest run, by a link or, where links are forbidden, by a file."""

from pathlib import Path
from typing import Any

import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import Run, checkpoint_file
from mnist_cnn.runs.latest import check_not_latest, follow, link_latest


def started(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_latest_points_to_the_newest_run_under_outputs(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for name in ("a", "b"):
        link_latest(started(outputs / "day" / name), outputs)
    link_latest(tmp_path / "elsewhere", outputs)
    assert (outputs / "latest").resolve() == outputs / "day" / "b"
    assert not (outputs / "latest").readlink().is_absolute()  # outputs may be moved
    link_latest(outputs / "latest", outputs)  # resumed by that name
    assert {entry.name for entry in outputs.iterdir()} == {"day", "latest"}
    assert (outputs / "latest").resolve() == outputs / "day" / "b"


def test_the_outputs_are_those_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    link_latest(started(tmp_path / "outputs" / "a"))
    assert Path("outputs/latest").resolve() == tmp_path / "outputs" / "a"


def test_a_folder_named_latest_stays(tmp_path: Path) -> None:
    (started(tmp_path / "latest") / "mine").touch()
    link_latest(started(tmp_path / "day" / "a"), tmp_path)
    assert [*(tmp_path / "latest").iterdir()] == [tmp_path / "latest" / "mine"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"day", "latest"}


def test_the_name_of_the_link_is_refused_also_where_it_is_there(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for name in ("outputs/day/latest", "latest"):
        check_not_latest(tmp_path / name, "hydra.run.dir", outputs)
    link_latest(started(outputs / "a"), outputs)
    with pytest.raises(InputError, match="latest is the link to the newest run: choose another hydra.sweep.dir"):
        check_not_latest(outputs / "latest", "hydra.sweep.dir", outputs)


def test_without_symbolic_links_latest_is_a_file_that_names_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: Any, **__: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", forbid)
    for name in ("a", "b"):
        run = Run(tmp_path / "day" / name)
        write_atomically(run.last, b"")
        link_latest(run.path, tmp_path)
    assert follow(tmp_path / "latest") == run.path
    assert checkpoint_file(tmp_path / "latest") == run.last
    assert Run(tmp_path / "new").checkpoint_to_resume(str(tmp_path / "latest")) == run.last
    assert follow(tmp_path / "day") == tmp_path / "day"
