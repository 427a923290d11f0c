"""A sweep on a SLURM cluster that this file starts: `pytest -m slurm -n 0 tests/sweeps`. Takes ten minutes."""

import os
import re
from collections.abc import Iterator

import pytest

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from tests.commands import Command
from tests.sweeps import FOLDER, TINY, rows, slurm
from tests.sweeps.slurm import ask, queue, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing())]

SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", f"hydra.sweep.dir={FOLDER}")
ENDLESS = 5000  # epochs, of 0.1 s or more


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with slurm.cluster(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(autouse=True)
def empty_queue(cluster: None) -> Iterator[None]:
    yield
    slurm.end_jobs()


def start(*overrides: str) -> Command:
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return Command("-m", "mnist_cnn.train", "-m", *TINY, *SLURM, *overrides, env=env)


def run(name: str) -> Run:
    return Run(FOLDER / name)


def trainings(name: str) -> list[str]:
    """Return the line with which each training of a job began."""
    return re.findall(r".* training images, .*", (FOLDER / name / "train.log").read_text())


def is_saved(name: str) -> bool:
    return run(name).last.is_file() and len(run(name).rows()) > 1


def test_a_sweep_trains_each_job_once_with_its_share_of_the_cores() -> None:
    for options in ("seed=0,1,2",), ("seed=3,3", "hydra.launcher.cpus_per_task=2"):
        driver = start(*options)
        out, err = driver.communicate()
        assert driver.returncode == 0
        assert out.startswith("n  status    epochs")  # submitit's warnings went there
        assert err.count("sacct") + err.count("accounting") <= 1
    jobs = [run(f"seed={seed}") for seed in range(4)]
    assert [job.result()["status"] for job in jobs] == ["complete"] * 4
    assert [job.result()["threads"] for job in jobs] == [1, 1, 1, 2]
    assert [len(trainings(job.path.name)) for job in jobs] == [1] * 4
    assert [(row["n"], row["status"]) for row in rows()] == [("4", "complete")]


def test_a_cancelled_job_is_saved_and_the_others_go_on() -> None:
    names = [f"trainer.max_epochs={epochs}" for epochs in (1, ENDLESS, ENDLESS + 1)]
    driver = start(f"trainer.max_epochs=1,{ENDLESS},{ENDLESS + 1}", "hydra.launcher.array_parallelism=2")
    wait_for(lambda: len(queue()) == 3)
    _, running, waiting = sorted(queue())
    ask("scancel", waiting)
    wait_for(lambda: is_saved(names[1]))
    ask("scancel", running)
    out, err = driver.communicate()
    assert driver.returncode == 1
    assert [run(name).status() for name in names] == ["complete", "failed", "failed"]
    assert [len(trainings(name)) for name in names[:2]] == [1, 1]
    said = "SLURM ended it (cancelled, or out of time or memory); the same command resumes it"
    assert sorted(err.splitlines()[-2:]) == [f"error: {name}: {said}" for name in names[1:]]
    assert f"error: {said}" in (FOLDER / names[1] / "train.log").read_text()  # it has saved, and ended by itself
    assert re.search(r"^1 .*complete", out, re.MULTILINE)


def test_a_job_at_its_time_limit_is_saved_and_resumed() -> None:
    limit = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5", "hydra.launcher.max_num_timeout=1")
    driver = start("seed=0,0", f"trainer.max_epochs={ENDLESS}", "data.batch_size=1", *limit)
    err = driver.communicate()[1]
    assert driver.returncode == 1, err
    first, second = trainings("seed=0")
    assert "resumed" not in first
    assert second.endswith(f"resumed from {run('seed=0').last.resolve()}")
    assert read_checkpoint(run("seed=0").last)["global_step"] % 4000 > 0  # saved within an epoch
    assert err.splitlines()[-1].endswith("Job not requeued because: timed-out too many times.")


def test_when_the_driver_is_killed_the_same_command_trains_nothing_twice() -> None:
    names = [f"seed={seed}" for seed in (0, 1, 2)]
    options = ("seed=0,1,2", "trainer.max_epochs=80")
    killed = start(*options)
    wait_for(lambda: all(is_saved(name) for name in names[:2]))
    killed.kill()
    killed.communicate()
    assert len(queue()) == 3
    driver = start(*options)
    driver.communicate()
    assert driver.returncode == 0
    assert [run(name).result()["epochs"] for name in names] == [80] * 3
    assert [len(trainings(name)) for name in names] == [1] * 3
    assert [(row["n"], row["status"]) for row in rows()] == [("3", "complete")]
