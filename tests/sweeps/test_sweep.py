"""Run the same command again: complete jobs are skipped, interrupted ones resume, and a table ends each sweep."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn import signals
from mnist_cnn import sweep as show
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import compose
from mnist_cnn.sweeps import drive, job
from mnist_cnn.train import command, train
from tests.conftest import Answer
from tests.sweeps import FOLDER, TINY, rows, sweep, weights


def test_the_same_command_trains_only_what_is_missing(cli: Callable[..., Answer], started: list[str]) -> None:
    first = sweep(cli, "seed=0,1")
    assert (first.status, started) == (0, ["seed=0", "seed=1"])
    again = sweep(cli, "seed=0,1")
    assert (again.status, again.out, started[2:]) == (0, first.out, [])
    more = sweep(cli, "seed=0,1,2")
    assert (more.status, started[2:]) == (0, ["seed=2"])
    assert [row["n"] for row in rows()] == ["3"]


def test_each_command_that_trained_in_a_folder_is_recorded_there(cli: Callable[..., Answer]) -> None:
    for given in (["seed=0,1", "resume=never"], ["seed=0,1"], ["seed=0,0"], ["--plan", "seed=0,1,2"]):
        assert sweep(cli, *given).status == 0
    commands = (FOLDER / "command.txt").read_text().replace("'", "").splitlines()
    assert [command.split()[-1] for command in commands] == ["seed=0,1", "seed=0,0"]
    assert all(command.startswith(f"python -m mnist_cnn.train -m {TINY[0]}") for command in commands)


def test_a_sweep_ends_with_its_report_or_with_how_to_make_it(cli: Callable[..., Answer], started: list[str]) -> None:
    assert sweep(cli, "seed=0,1").out.endswith(f"report: python -m mnist_cnn.report {FOLDER}\n")
    assert sweep(cli, "seed=0,1", "report=true").out.endswith(f"report: {FOLDER}/report.html\n")
    assert started == ["seed=0", "seed=1"]


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


def test_jobs_of_other_settings_are_outdated_and_trained_again_only_when_asked(
    cli: Callable[..., Answer], started: list[str]
) -> None:
    sweep(cli, "seed=0,1", "optimizer=adam")
    before = [Run(FOLDER / f"seed={seed}").result() for seed in (0, 1)]
    answer = sweep(cli, "seed=0,1,2")
    assert (answer.status, started[2:]) == (1, ["seed=2"])
    assert [Run(FOLDER / f"seed={seed}").result() for seed in (0, 1)] == before
    assert rows()[0]["status"] == "1 complete, 2 outdated"
    assert rows()[0]["n"] == "1"
    assert "3 jobs in mine, 0 already complete, 2 outdated" in answer.err
    changed = "trained with optimizer._target_=mnist_cnn.model.optimizers.KerasAdam, now it is "
    assert answer.err.count(changed) == 2
    *_, again = answer.err.splitlines()
    assert again.startswith("to retrain the outdated jobs: python -m mnist_cnn.train -m data.name=sample ")
    assert again.endswith("seed=0,1,2 resume=outdated")
    assert sweep(cli, "seed=0,1,2", "resume=outdated").status == 0
    assert started[3:] == ["seed=0", "seed=1"]
    assert sweep(cli, "seed=0,1,2").status == 0
    assert [row["n"] for row in rows()] == ["3"]


def test_a_sweeps_folder_shows_what_is_outdated_and_the_command_trains_it_again(
    cli: Callable[..., Answer], tmp_path: Path
) -> None:
    sweep(cli, "seed=0,1")
    shutil.copytree(FOLDER / "seed=0", FOLDER / "seed=2")  # somebody tidies up
    copied = sweep(cli, "seed=0,1,2")
    assert (copied.status, "outdated: seed=2: trained with seed=0, now it is 2\n" in copied.err) == (1, True)
    assert cli(show.main, FOLDER).out.split("\n")[1].split()[:5] == ["2", "2", "complete,", "1", "copy"]
    for name in ("result.json", ".hydra/config.yaml"):  # as if conf/ had said so then
        file = FOLDER / "seed=1" / name
        file.write_text(file.read_text().replace("0.001", "0.004").replace('"conf_hash": "', '"conf_hash": "x'))
    answer = cli(show.main, FOLDER)
    assert (answer.status, answer.out.split("\n")[1].split()[:4]) == (1, ["1", "1", "complete,", "1"])
    said, _, again = answer.err.partition("; to train it again: python -m mnist_cnn.train ")
    assert said == "outdated: mine/seed=1: trained with optimizer.lr=0.004, now it is 0.001"
    assert cli(command, *shlex.split(again)).status == 0
    assert cli(show.main, FOLDER).status == 0


def test_jobs_go_on_to_more_epochs(cli: Callable[..., Answer], started: list[str]) -> None:
    sweep(cli, "seed=0,1")
    assert sweep(cli, "seed=0,1", "trainer.max_epochs=2").status == 0
    assert [Run(FOLDER / f"seed={seed}").result()["epochs"] for seed in (0, 1)] == [2, 2]
    fewer = sweep(cli, "seed=0,1", "trainer.max_epochs=1")
    assert (fewer.status, fewer.err.count("trained with trainer.max_epochs=2, now it is 1")) == (1, 2)


def test_a_change_in_conf_that_changes_no_setting_trains_nothing(
    cli: Callable[..., Answer], started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(cli, "seed=0,1")
    monkeypatch.setattr("mnist_cnn.sweeps.plan.conf_digest", lambda *_: "another")
    assert sweep(cli, "seed=0,1").status == 0
    assert started == ["seed=0", "seed=1"]


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
    given = [*TINY, "hydra.sweep.dir=mine", "seed=0,1,2"]  # resume=never would start over
    last = answer.err.splitlines()[-1].replace("'", "")
    assert last == " ".join(["stopped; to resume: python -m mnist_cnn.train -m", *given])
    complete = (FOLDER / "seed=0" / "result.json").read_bytes()
    assert sweep(cli, "seed=0,1,2").status == 0
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
    # the process that first refuses a network is replaced after its second job, while the other still trains
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    answer = sweep(cli, "trainer.max_epochs=20,1", "model.channels=[2],[2,2,2,2]", *joblib)
    assert answer.status == 1
    for epochs in (20, 1):
        alone = Run(tmp_path / str(epochs))
        train(compose(*TINY, "model.channels=[2]", f"trainer.max_epochs={epochs}", "threads=1"), alone)
        at_once = weights(Run(FOLDER / f"model.channels=[2],trainer.max_epochs={epochs}"))
        assert all(torch.equal(at_once[key], value) for key, value in weights(alone).items())
        assert Run(FOLDER / f"model.channels=[2,2,2,2],trainer.max_epochs={epochs}").status() == "failed"


def test_a_narrower_command_keeps_the_table_of_the_wider_one(cli: Callable[..., Answer]) -> None:
    sweep(cli, "seed=0,1", "model.padding=valid,same")
    narrow = sweep(cli, "seed=0,1", "model.padding=valid,valid")
    assert "2 jobs (2 repeated) in mine, 2 already complete" in narrow.err
    assert "same" not in narrow.out
    assert {row["model.padding"]: row["n"] for row in rows()} == {"valid": "2", "same": "2"}


def test_threads_that_are_swept_on_purpose_are_rows(cli: Callable[..., Answer]) -> None:
    assert sweep(cli, "threads=1,2", "seed=0").status == 0
    assert [(row["threads"], row["n"]) for row in rows()] == [("1", "1"), ("2", "1")]


def test_a_plan_lists_the_jobs_and_trains_nothing(cli: Callable[..., Answer], started: list[str], here: Path) -> None:
    empty = sweep(cli, "--plan", "seed=0,1")
    assert (empty.status, list(here.iterdir())) == (0, [])
    sweep(cli, "seed=1,1")
    (FOLDER / "seed=1" / "result.json").unlink()
    answer = sweep(cli, "--plan", "seed=0,1,2")
    assert [line.split() for line in answer.out.splitlines()[:-1]] == [
        ["job", "status"], ["seed=0", "waiting"], ["seed=1", "interrupted"], ["seed=2", "waiting"]
    ]  # fmt: skip
    assert answer.out.endswith("3 of 3 would be trained in mine\n")
    sweep(cli, "seed=0,1", "optimizer=adam")
    answer = sweep(cli, "--plan", "seed=0,1,2")
    assert [line.split()[1] for line in answer.out.splitlines()[1:-1]] == ["outdated", "interrupted", "waiting"]


def test_a_job_that_takes_too_long_is_saved_and_marked_and_resumes(cli: Callable[..., Answer]) -> None:
    long = ("seed=0,1", "trainer.max_epochs=3000", "data.train_size=500")
    answer = sweep(cli, *long, "job_timeout=0.02")
    assert answer.status == 1
    expected = "stopped after job_timeout=0.02 minutes; a run in the same directory resumes"
    assert [f"error: seed={seed}: {expected}" for seed in (0, 1)] == answer.err.splitlines()[-2:]
    first = [len(Run(FOLDER / f"seed={seed}").rows()) for seed in (0, 1)]
    sweep(cli, *long, "job_timeout=0.02")
    assert all(len(Run(FOLDER / f"seed={seed}").rows()) > first[seed] > 0 for seed in (0, 1))


def test_who_waits_says_for_whom(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(cli, "seed=0,0")
    said = []
    with ExitStack() as lock:
        lock.enter_context(Run(FOLDER / "seed=1").locked())
        monkeypatch.setattr(drive.time, "sleep", lambda _: lock.close())  # the other process ends
        monkeypatch.setattr(drive.log, "warning", lambda text, *values: said.append(text % values))
        assert sweep(cli, "seed=0,1").status == 0
    assert said == ["waiting for 1 jobs that other processes train: seed=1"]
