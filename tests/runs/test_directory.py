import json
from pathlib import Path

import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import InUse, Run, checkpoint_file, run_of
from tests.faults.durability import Disk


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    run, result = Run(tmp_path / "run"), {"status": "complete", "test/acc": 0.9923, "overrides": ["seed=1"]}
    run.finish(result)
    assert run.result() == json.loads((run.path / "result.json").read_text()) == result
    assert (run.path / "result.json").read_text().endswith("}\n")


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "3", "[" * 100_000, b"\xff\xfe\x00"])
def test_a_damaged_result_is_no_result(content: str | bytes, tmp_path: Path) -> None:
    assert Run(tmp_path).result() == {}
    (tmp_path / "result.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert Run(tmp_path).result() == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- seed=1\n- optimizer.lr=${lr}\n", ["seed=1", "optimizer.lr=${lr}"]),
        *((content, []) for content in (b"", b"- 'se", b"- s\0\0", b"- ${l", b"\xff", b"seed: 1")),
    ],
)
def test_overrides_that_are_half_written_are_none(content: bytes, expected: list[str], tmp_path: Path) -> None:
    write_atomically(tmp_path / ".hydra" / "overrides.yaml", content)
    assert Run(tmp_path).overrides() == expected


def test_a_run_knows_what_it_was_trained_with(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.settings() == {}
    for damaged in (b"[", b"- 1", b"\xff"):
        write_atomically(run.path / ".hydra" / "config.yaml", damaged)
        assert run.settings() == {}
    write_atomically(run.path / ".hydra" / "config.yaml", b"seed: 3\nthreads: 2\nmodel: {name: conv}\n")
    assert run.settings() == {"seed": 3, "model.name": "conv"}  # threads decide no result
    run.finish({"status": "complete", "settings": {"seed": 4}})
    assert run.settings() == {"seed": 4}


def test_resume_names_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = Run(tmp_path / "run"), Run(tmp_path / "other")
    assert run.checkpoint_to_resume("auto") is None
    write_atomically(run.last, b"")
    write_atomically(other.best, b"")
    assert run.checkpoint_to_resume("auto") == run.last
    assert run.checkpoint_to_resume("never") is None
    assert run.checkpoint_to_resume(str(other.best)) == other.best
    with pytest.raises(InputError, match="there is no checkpoint .*other/checkpoints/last.ckpt"):
        run.checkpoint_to_resume(str(other.path))
    monkeypatch.chdir(tmp_path)
    Path("latest").symlink_to("run")
    assert other.checkpoint_to_resume("latest") == run.last.resolve()  # latest may soon point elsewhere


def test_a_checkpoint_is_found_by_run_or_file(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(InputError, match="there is no checkpoint .*: give a .ckpt file, or a run directory"):
        checkpoint_file(tmp_path)
    write_atomically(run.last, b"")
    assert checkpoint_file(str(tmp_path)) == checkpoint_file(run.last) == run.last
    assert run_of(run.last) == Run(tmp_path.resolve())


def test_one_process_at_a_time_trains_in_a_directory(tmp_path: Path) -> None:
    run, other = Run(tmp_path / "run").locked(), Run(tmp_path / "run").locked()
    with run, pytest.raises(InUse, match="run is in use by another process: choose another hydra.run.dir"):
        other.__enter__()
    with Run(tmp_path / "run").locked():
        pass


def test_a_new_training_removes_what_could_pass_for_its_result(tmp_path: Path) -> None:
    run = Run(tmp_path)
    paths = [run.last, run.best, run.metrics, run.path / "result.json"]
    for path in paths:
        write_atomically(path, b"{}")
    run.begin("", "", resume_from=run.last)
    assert [path.exists() for path in paths] == [True, True, True, False]
    run.begin("", "", resume_from=run.best)
    assert [path.exists() for path in paths] == [False, True, False, False]
    run.begin("", "")
    assert not any(path.exists() for path in paths)


def test_a_power_cut_brings_no_removed_result_back(tmp_path: Path) -> None:
    run, disk = Run(tmp_path), Disk(tmp_path)
    for forget in (run.forget_result, lambda: run.begin("", "")):
        run.finish({"status": "failed"})
        with disk.recorded():
            forget()
        assert not [tree for tree in disk.left().values() if "result.json" in tree]


def test_the_result_goes_first_and_then_the_checkpoint_that_would_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, removed = Run(tmp_path), list[Path]()
    for path in (run.last, run.best, run.metrics):
        write_atomically(path, b"{}")
    monkeypatch.setattr("mnist_cnn.runs.directory.remove", removed.append)
    run.begin("", "")
    assert removed[:2] == [run.path / "result.json", run.last]


def test_a_training_writes_its_configuration(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_atomically(tmp_path / "notes.txt", b"mine")
    run.begin("seed: 0\n", "- seed=0\n")
    assert {file.name for file in tmp_path.iterdir()} == {".hydra", "notes.txt"}
    assert (tmp_path / ".hydra" / "config.yaml").read_text() == "seed: 0\n"
    assert (tmp_path / ".hydra" / "overrides.yaml").read_text() == "- seed=0\n"


def test_a_run_in_a_folder_that_can_only_be_read_has_a_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    for name in (".lock", "result.json"):
        (tmp_path / name).touch()

    def refuse(*_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("mnist_cnn.files.FileLock.acquire", refuse)
    assert run.status() == "waiting"


def test_a_run_that_began_with_a_path_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    source, run = Run(tmp_path / "source"), Run(tmp_path / "run")
    for file in (source.last, source.best):
        write_atomically(file, b"theirs")
    given = str(source.path)
    assert run.checkpoint_to_resume(given) == source.last
    run.begin(f"resume: {given}\n", "[]", source.last)
    assert run.best.read_bytes() == b"theirs"  # no epoch of its own may be better
    assert run.checkpoint_to_resume(given) == source.last  # it has saved nothing yet
    write_atomically(run.last, b"ours")
    assert run.checkpoint_to_resume(given) == run.last
    assert run.checkpoint_to_resume(str(source.last)) == source.last  # another path: it is meant
