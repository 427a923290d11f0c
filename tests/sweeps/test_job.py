"""Jobs at once share the cores, and each takes a GPU of its own."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_cnn.sweeps import job


@pytest.mark.parametrize(
    ("launcher", "cores"),
    [
        ({"_target_": "x.BasicLauncher"}, 8),
        ({"_target_": "x.JoblibLauncher", "n_jobs": -1}, 1),
        ({"_target_": "x.JoblibLauncher", "n_jobs": 3}, 2),
        ({"_target_": "x.JoblibLauncher", "n_jobs": 9}, 1),
        ({"_target_": "x.LocalLauncher", "cpus_per_task": None}, 1),
        ({"_target_": "x.LocalLauncher", "cpus_per_task": 3}, 3),
        ({"_target_": "x.SlurmLauncher", "cpus_per_task": 3}, 8),  # SLURM shows a job its own cores only
        ({"_target_": "x.RayLauncher", "ray": {"remote": {"num_cpus": 2}}}, 2),
        ({"_target_": "x.RayLauncher", "ray": {"remote": {}}}, 1),
    ],
)
def test_jobs_at_once_share_the_cores(launcher: dict[str, object], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = 1 if "Joblib" not in str(launcher["_target_"]) else 2
    monkeypatch.setenv("OMP_NUM_THREADS", str(8 // at_once))  # joblib divides it
    monkeypatch.setattr("mnist_cnn.sweeps.job.machine_cores", lambda: 8)
    assert job.cores_per_job(OmegaConf.create(launcher)) == cores


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(job, "_DEVICES", tmp_path)
    monkeypatch.setattr(job.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(job, "_reserved", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    return tmp_path


def reserve_as_another_process(monkeypatch: pytest.MonkeyPatch, visible: str | None = None) -> str | None:
    monkeypatch.setattr(job, "_reserved", [])
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    job.reserve_gpu()
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_process_takes_a_gpu_of_its_own_and_keeps_it(gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    for expected in ("0", "1", None):  # more processes than GPUs: they share
        assert reserve_as_another_process(monkeypatch) == expected
        job.reserve_gpu()
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected
        held.append(job._reserved)


def test_only_the_gpus_that_are_visible_are_taken(gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reserve_as_another_process(monkeypatch, "5,7") == "5"
    assert reserve_as_another_process(monkeypatch, "3") == "3"
    assert not (gpus / "mnist_cnn-gpu-3.lock").exists()
