import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException

from mnist_cnn.errors import InputError, RunError
from mnist_cnn.hydra_app import report_failure, run_hydra
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.signals import Stopped
from mnist_cnn.training.start import is_first_process
from tests.conftest import posix


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that Hydra has just started in the current folder."""
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path / "outputs" / "run")
    run.path.mkdir(parents=True)
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(runtime=SimpleNamespace(cwd=str(tmp_path))))
    (run.path / "train.log").touch()
    return run


def fail_with(error: BaseException, run: Run) -> None:
    with report_failure(run):
        raise error


@pytest.mark.parametrize(("error", "status"), [(InputError("no x"), 2), (RunError("no loss"), 1)])
def test_a_failed_job_is_one_line_a_status_and_no_folder(
    error: Exception, status: int, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        fail_with(error, run)
    assert (end.value.code, capsys.readouterr()) == (status, ("", f"error: {error}\n"))
    assert not run.path.exists()


def test_a_directory_in_use_is_left_alone(run: Run) -> None:
    with pytest.raises(SystemExit):
        fail_with(InUse("in use"), run)
    assert run.path.exists()


def test_only_the_first_process_removes_the_directory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    for error in (InputError("no x"), Stopped(15)):
        with pytest.raises(SystemExit):
            fail_with(error, run)
    assert run.path.exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("resume=never seed=1 hydra.run.dir=outputs/run", "seed=1 hydra.run.dir=outputs/run"),
        ("'data.dir=my data'", "'data.dir=my data' hydra.run.dir=outputs/run"),
    ],
)
def test_a_stopped_run_tells_the_command_that_resumes_it(
    given: str, expected: str, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run.last.parent.mkdir()
    run.last.touch()
    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(given)])
    caplog.set_level(logging.INFO)
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    assert caplog.messages == [f"stopped; to resume: python -m mnist_cnn.train {expected}"]


def test_hydras_errors_become_ours() -> None:
    def main() -> None:
        assert os.environ["HYDRA_FULL_ERROR"] == "1"
        raise ConfigCompositionException("Could not override 'sed'.\nKey 'sed' is not in struct")

    with pytest.raises(InputError, match=r"^there is no key sed \(did you mean seed\?\)"):
        run_hydra(main)
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.parametrize("error", [InputError("no x"), RunError("no loss"), Stopped(15)])
def test_our_errors_stay_as_they_are(error: BaseException) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run_hydra(main)
    assert raised.value is error


def test_a_bug_of_ours_keeps_its_traceback(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_hydra(lambda: fail_with(ValueError("a bug"), run))
    assert (end.value.code, capsys.readouterr().err.splitlines()[-1]) == (1, "ValueError: a bug")
    assert run.path.exists()


@pytest.mark.parametrize("names", [(), ("train.log",), (".lock",), ("train.log", ".lock")])
def test_an_unused_directory_is_removed_with_its_empty_parents(names: tuple[str, ...], run: Run) -> None:
    (run.path / "train.log").unlink()
    for name in names:
        (run.path / name).touch()
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    assert list(run.path.parents[1].iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", "result.json", "metrics.csv"])
def test_a_directory_with_other_files_stays(name: str, run: Run) -> None:
    (run.path / name).touch()
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    assert {file.name for file in run.path.iterdir()} == {"train.log", name}


def test_the_current_folder_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    assert run.path.is_dir()


def test_a_log_that_windows_keeps_open_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_use(*_: object, **__: object) -> None:
        raise PermissionError("used by another process")

    monkeypatch.setattr(Path, "unlink", in_use)
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    assert (run.path / "train.log").is_file()


@posix
@pytest.mark.parametrize("name", ["lr=0.1", "a,b", "run (1)", "실험", "it's", "a b\\", "$HOME", "x\\'y"])
def test_the_printed_command_names_any_folder_to_the_shell_and_to_hydra(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(run.path.parent / name)
    run.last.parent.mkdir(parents=True)
    run.last.touch()
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1", "hydra.run.dir=x"])
    caplog.set_level(logging.INFO)
    with pytest.raises(Stopped):
        fail_with(Stopped(15), run)
    typed = caplog.messages[0].removeprefix("stopped; to resume: ")
    shown = "import json, sys; print(json.dumps(sys.argv[1:]))"
    script = f'python() {{ {shlex.quote(sys.executable)} -c {shlex.quote(shown)} "$@"; }}; {typed}'
    *_, override = json.loads(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)
    assert OverridesParser.create().parse_override(override).value() == f"outputs/{name}"
