"""What fails in one job stops no other; what is wrong in the configuration is said before anything is written."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.plugins.launcher import Launcher

from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import compose
from mnist_cnn.sweeps import drive, job
from mnist_cnn.train import train
from tests.conftest import Answer, one_line
from tests.sweeps import FOLDER, TINY, rows, sweep


def test_a_network_that_cannot_be_built_fails_its_job_alone_and_is_retried(
    cli: Callable[..., Answer], started: list[str]
) -> None:
    too_deep = "[8,8,8,8]"
    answer = sweep(cli, f"model.channels=[8,8],{too_deep},[8]")
    assert answer.status == 1
    assert one_line(answer.err.splitlines(keepends=True)[-1]).startswith(f"error: model.channels={too_deep}: ")
    assert {row["model.channels"]: row["status"] for row in rows()} == {
        "[8,8]": "complete", "[8]": "complete", too_deep: "failed"
    }  # fmt: skip
    failed = Run(FOLDER / f"model.channels={too_deep}")
    assert "is too deep: layer 4 has no pixels left" in failed.result()["error"]
    assert failed.result()["error"] in (failed.path / "train.log").read_text()
    failed.finish({"status": "failed", "error": "stale"})
    sweep(cli, f"model.channels=[8,8],{too_deep},[8]")
    assert failed.result()["error"] != "stale"


def test_a_job_that_raises_leaves_its_traceback(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_at_seed_1(settings: Settings, run: Run, *arguments: Any, **options: Any) -> object:
        if run.path.name == "seed=1":
            raise MemoryError("no more")
        return train(settings, run, *arguments, **options)

    monkeypatch.setattr(job, "train", fail_at_seed_1)
    answer = sweep(cli, "seed=0,1,2")
    assert answer.status == 1
    assert Run(FOLDER / "seed=1").result() == {
        "status": "failed", "error": "MemoryError: no more", "overrides": [*TINY, "seed=1"]
    }  # fmt: skip
    assert "Traceback" in (FOLDER / "seed=1" / "train.log").read_text()
    assert "Traceback" not in answer.err + answer.out
    assert [Run(FOLDER / f"seed={seed}").status() for seed in (0, 2)] == ["complete", "complete"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-1", "seed=0,1"], "optimizer.lr=-1 cannot be used"),
        (["model.padding=valid,foo,same"], "model.padding=foo is not known: choose valid or same"),
        (
            ["optimizer=rmsprop,rmspop"],
            "optimizer=rmspop is not known: choose one of adam, ",
        ),
        (["model=conv,dense"], "there is no key model.channels with this choice of model"),  # TINY gives channels
        (["hydra.sweep.dir=", "seed=0,1"], "hydra.sweep.dir is empty: name a folder"),
        (
            ["hydra.sweep.dir=outputs/latest", "seed=0,1"],
            "outputs/latest is the link to the newest run: choose another",
        ),
        (["modl.padding=valid,same"], "there is no key modl.padding (did you mean model.padding?)"),
        (
            ["trainer.devices=2", "seed=0,1"],
            "trainer.devices=2 is not possible in a sweep or search: set trainer.devices=1",
        ),
        (["trainer=ddp", "seed=0,1"], "trainer.devices=auto is not possible in a sweep or search"),
        (["trainer.num_nodes=2", "seed=0,1"], "trainer.num_nodes=2 is not possible in a sweep or search"),
        (["model=null", "seed=0,1"], "a group cannot be null: --help lists its choices"),
        (["seed=[a", "model=conv"], "no viable alternative"),
        (["--cfg", "job"], "a sweep does not take --cfg: only overrides"),
        (["experiment=padding,seeds"], "an experiment that lists values to sweep cannot itself be swept"),
        (["model=dense,conv", "model.padding=foo"], "model.padding=foo is not known: choose valid or same"),
        (["hydra/launcher=foo", "seed=0,1"], "hydra/launcher=foo is not known: choose one of basic, "),
        (["hydra/launcher=joblib,basic", "seed=0,1"], "hydra/launcher=joblib,basic cannot be swept: choose one value"),
        (["hydra.sweep.subdir=x", "seed=0,1"], "hydra.sweep.subdir=x is not supported: a sweep is KEY=a,b"),
        (["+hydra.sweeper.params.seed='0,1'"], "is not supported: a sweep is KEY=a,b"),
        (["+hydra.launcher.partition=p", "seed=0,1"], "hydra.launcher is wrong: BasicLauncher: "),
    ],
)
def test_what_is_wrong_in_the_configuration_of_a_job_is_one_line_before_anything_is_written(
    overrides: Sequence[str], message: str, here: Path, cli: Callable[..., Answer]
) -> None:
    answer = sweep(cli, *overrides)
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not list(here.iterdir())


def test_a_launcher_that_gives_up_is_tried_three_times_and_its_reason_told(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    class Broken(Launcher):
        def setup(self, **_: Any) -> None: ...

        def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
            attempts.append(len(overrides))
            raise BrokenPipeError("no workers\nat all")

    monkeypatch.setattr(drive.Plugins, "instantiate_launcher", lambda *_, **__: Broken())
    answer = sweep(cli, "seed=0,1", "hydra/launcher=joblib")
    assert (answer.status, attempts) == (1, [2, 1, 1, 1, 1])  # after a death one at a time
    assert "error: seed=0: 3 attempts failed: BrokenPipeError: no workers\n" in answer.err
    assert Run(FOLDER / "seed=1").status() == "failed"


def test_a_job_that_another_process_failed_counts(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_elsewhere(settings: Settings, run: Run, *arguments: Any, **options: Any) -> object:
        Run(FOLDER / "seed=1").fail("no more memory there", [])
        return train(settings, run, *arguments, **options)

    monkeypatch.setattr(job, "train", fail_elsewhere)
    answer = sweep(cli, "seed=0,1")
    assert (answer.status, answer.err.splitlines()[-1]) == (1, "error: seed=1: no more memory there")


def test_a_folder_that_cannot_be_written_fails_its_job_alone(here: Path, cli: Callable[..., Answer]) -> None:
    FOLDER.mkdir()
    (FOLDER / "seed=1").write_text("a file in its place")
    answer = sweep(cli, "seed=0,1,2")
    assert answer.status == 1
    assert [Run(FOLDER / f"seed={seed}").status() for seed in (0, 2)] == ["complete", "complete"]
    assert one_line(answer.err.splitlines(keepends=True)[-1]).startswith("error: seed=1: ")
    assert (FOLDER / "seed=1").read_text() == "a file in its place"


def test_a_complete_sweep_on_a_disk_that_can_only_be_read_prints_its_table(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    expected = sweep(cli, "seed=0,1").out
    for function in ("mnist_cnn.sweeps.sweep.write_atomically", "mnist_cnn.files.FileLock.acquire"):
        monkeypatch.setattr(function, read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    answer = sweep(cli, "seed=0,1")
    assert (answer.status, answer.out) == (0, expected)
    assert answer.err.splitlines()[1:] == ["warning: mine/table.csv cannot be written: Read-only file system"]


def test_a_process_that_dies_costs_the_jobs_that_had_not_started_no_attempt(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[list[str]] = []

    class Dying(Launcher):
        def setup(self, **_: Any) -> None: ...

        def launch(self, overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            names = [each[-1].removeprefix("hydra.sweep.subdir=").strip("'") for each in overrides]
            launched.append(names)
            if "seed=0" in names:
                with Run(FOLDER / "seed=0").locked():
                    raise BrokenPipeError("killed")
            for name in names:
                train(compose(*TINY, name), Run(FOLDER / name))
            return [SimpleNamespace(return_value="") for _ in names]

    monkeypatch.setattr(drive.Plugins, "instantiate_launcher", lambda *_, **__: Dying())
    answer = sweep(cli, "seed=0,1,2", "hydra/launcher=joblib")
    assert launched == [["seed=0", "seed=1", "seed=2"], ["seed=1", "seed=2"], ["seed=0"], ["seed=0"]]
    assert (answer.status, answer.err.splitlines()[-1]) == (
        1, "error: seed=0: 3 attempts failed: BrokenPipeError: killed"
    )  # fmt: skip
