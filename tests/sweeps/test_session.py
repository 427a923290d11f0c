"""The same command again goes on: complete jobs are skipped, failed ones retried, and a table ends each sweep."""

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn import signals
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import compose
from mnist_cnn.sweeps import drive, job
from mnist_cnn.train import command, train
from tests.conftest import Answer, one_line

TINY = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1", "model.channels=[2]", "data.batch_size=500")
FOLDER = Path("mine")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were trained."""
    names: list[str] = []

    def note(settings: Settings, run: Run, *arguments: Any, **options: Any) -> object:
        names.append(run.path.name)
        return train(settings, run, *arguments, **options)

    monkeypatch.setattr(job, "train", note)
    return names


def sweep(cli: Callable[..., Answer], *overrides: str) -> Answer:
    return cli(command, "-m", *TINY, f"hydra.sweep.dir={FOLDER}", *overrides)


def weights(run: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run.last)["state_dict"]
    return state


def rows(folder: Path = FOLDER) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_command_trains_only_what_is_missing(cli: Callable[..., Answer], started: list[str]) -> None:
    first = sweep(cli, "seed=0,1")
    assert (first.status, started) == (0, ["seed=0", "seed=1"])
    again = sweep(cli, "seed=0,1")
    assert (again.status, again.out, started[2:]) == (0, first.out, [])
    more = sweep(cli, "seed=0,1,2")
    assert (more.status, started[2:]) == (0, ["seed=2"])
    assert [row["n"] for row in rows()] == ["3"]


def test_resume_never_starts_over(cli: Callable[..., Answer], started: list[str]) -> None:
    for _ in range(2):
        assert sweep(cli, "seed=0,1", "resume=never").status == 0
    assert started == ["seed=0", "seed=1"] * 2


def test_a_complete_job_is_recognized_when_the_overrides_are_written_otherwise(
    cli: Callable[..., Answer], started: list[str]
) -> None:
    sweep(cli, "seed=0,1")
    result = (FOLDER / "seed=0" / "result.json").read_bytes()
    assert sweep(cli, "seed=0,1", "data.fallback=error").status == 0  # decides where, not what
    assert (FOLDER / "seed=0" / "result.json").read_bytes() == result


def test_a_bad_value_fails_its_job_alone_and_is_retried(cli: Callable[..., Answer], started: list[str]) -> None:
    answer = sweep(cli, "model.padding=valid,foo,same")
    assert answer.status == 1
    assert one_line(answer.err.splitlines(keepends=True)[-1]).startswith("error: model.padding=foo: model.padding=foo")
    assert {row["model.padding"]: row["status"] for row in rows()} == {
        "valid": "complete", "same": "complete", "foo": "failed"
    }  # fmt: skip
    failed = Run(FOLDER / "model.padding=foo")
    assert failed.result()["error"].startswith("model.padding=foo is not known: give valid or same")
    assert "model.padding=foo is not known" in (failed.path / "train.log").read_text()
    failed.finish({"status": "failed", "error": "stale"})
    sweep(cli, "model.padding=valid,foo,same")
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


def test_a_choice_or_key_that_does_not_compose_fails_its_job_alone(cli: Callable[..., Answer]) -> None:
    answer = sweep(cli, "optimizer=rmspop,sgd", "+optimizer.dampening=0")
    assert answer.status == 1
    assert "error: optimizer=rmspop: In 'train': Could not find 'optimizer/rmspop'" in answer.err
    assert Run(FOLDER / "optimizer=sgd").status() == "complete"
    assert Run(FOLDER / "optimizer=rmspop").status() == "failed"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=-1", "seed=0,1"], "optimizer.lr=-1 cannot be used"),
        (["modl.padding=valid,same"], "there is no key modl.padding (did you mean model.padding?)"),
        (["trainer.devices=2", "seed=0,1"], "trainer.devices=2 cannot be used in a sweep: give trainer.devices=1"),
        (["trainer=ddp", "seed=0,1"], "trainer.devices=auto cannot be used in a sweep"),
        (["+trainer.num_nodes=2", "seed=0,1"], "trainer.num_nodes=2 cannot be used in a sweep"),
        (["seed=[a", "model=conv"], "no viable alternative"),
        (["--cfg", "job"], "--cfg cannot be used in a sweep: give overrides only"),
        (["seed=range(0)"], "seed=range(0) has no values"),
        (["experiment=padding,seeds"], "an experiment that lists values to sweep cannot be swept"),
        (["model=dense,conv", "model.padding=foo"], "model.padding=foo is not known: give valid or same"),
        (["hydra/launcher=foo", "seed=0,1"], "Could not find 'hydra/launcher/foo'"),
    ],
)
def test_what_is_wrong_in_all_jobs_is_one_line_before_anything_is_written(
    overrides: Sequence[str], message: str, here: Path, cli: Callable[..., Answer]
) -> None:
    answer = sweep(cli, *overrides)
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not list(here.iterdir())


def test_jobs_of_other_settings_are_not_this_sweeps(cli: Callable[..., Answer], started: list[str]) -> None:
    sweep(cli, "seed=0,1")
    before = [Run(FOLDER / f"seed={seed}").result() for seed in (0, 1)]
    answer = sweep(cli, "seed=0,1", "optimizer=adam")
    assert answer.status == 1
    for seed in (0, 1):
        assert f"error: seed={seed}: {FOLDER.resolve() / f'seed={seed}'}" in answer.err
    assert answer.err.count("trained with optimizer._target_=") == 2
    assert [Run(FOLDER / f"seed={seed}").result() for seed in (0, 1)] == before
    assert sweep(cli, "seed=0,1", "trainer.max_epochs=2").status == 0  # more epochs go on
    assert [Run(FOLDER / f"seed={seed}").result()["epochs"] for seed in (0, 1)] == [2, 2]


def test_a_change_in_conf_is_noticed(
    cli: Callable[..., Answer], started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(cli, "seed=0,1")
    monkeypatch.setattr("mnist_cnn.sweeps.plan.conf_digest", lambda: "another")
    assert sweep(cli, "seed=0,1").status == 0
    assert started == ["seed=0", "seed=1"] * 2  # asked; they found themselves complete


def test_a_job_gives_the_bits_of_the_same_run_alone(cli: Callable[..., Answer], tmp_path: Path) -> None:
    sweep(cli, "model.padding=valid,same", "seed=3")
    for padding in ("valid", "same"):
        alone = Run(tmp_path / padding)
        train(compose(*TINY, f"model.padding={padding}", "seed=3"), alone)
        in_sweep = weights(Run(FOLDER / f"model.padding={padding}"))
        assert all(torch.equal(in_sweep[key], value) for key, value in weights(alone).items())


def test_a_stopped_sweep_shows_what_there_is_and_resumes(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_seed_1(settings: Settings, run: Run, *arguments: Any, **options: Any) -> object:
        if run.path.name == "seed=1":
            raise signals.Stopped(15)
        return train(settings, run, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(job, "train", stop_at_seed_1)
        answer = sweep(cli, "seed=0,1,2", "resume=never")
    assert answer.status == 143
    assert "1 complete, 2 waiting" in answer.out
    given = [*TINY, "hydra.sweep.dir=mine", "seed=0,1,2", "resume=never", "resume=auto"]
    last = answer.err.splitlines()[-1].replace("'", "")
    assert last == " ".join(["stopped; to resume: python -m mnist_cnn.train -m", *given])
    complete = (FOLDER / "seed=0" / "result.json").read_bytes()
    assert sweep(cli, "seed=0,1,2", "resume=never", "resume=auto").status == 0
    assert (FOLDER / "seed=0" / "result.json").read_bytes() == complete
    assert [row["n"] for row in rows()] == ["3"]


def test_an_experiment_with_values_is_a_sweep_without_m(cli: Callable[..., Answer]) -> None:
    answer = cli(command, "experiment=padding", "seed=0", *TINY, "data.val_size=100")
    assert answer.status == 0
    assert "ranked by val/acc" in answer.out


def test_a_complete_sweep_does_not_import_torch(cli: Callable[..., Answer], here: Path) -> None:
    sweep(cli, "seed=0,1")
    code = "import sys; from mnist_cnn.train import command; command(); print('torch' in sys.modules)"
    call = [sys.executable, "-c", code, "-m", *TINY, "hydra.sweep.dir=mine", "seed=0,1"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_two_jobs_at_once_train_what_each_trains_alone(cli: Callable[..., Answer], tmp_path: Path) -> None:
    answer = sweep(cli, "seed=0,1", "model.padding=valid,foo", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert answer.status == 1
    for seed in (0, 1):
        alone = Run(tmp_path / str(seed))
        train(compose(*TINY, f"seed={seed}", "threads=1"), alone)
        at_once = weights(Run(FOLDER / f"model.padding=valid,seed={seed}"))
        assert all(torch.equal(at_once[key], value) for key, value in weights(alone).items())
        assert Run(FOLDER / f"model.padding=foo,seed={seed}").status() == "failed"


def test_a_launcher_that_gives_up_is_tried_three_times_and_its_reason_told(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    class Broken:
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
