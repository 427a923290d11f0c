"""Jobs at once share the cores, and each takes a GPU of its own."""

import os
from pathlib import Path

import pytest
import torch
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


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def reserve_as_another_process(monkeypatch: pytest.MonkeyPatch, visible: str | None = None) -> str | None:
    monkeypatch.setattr(job, "_reserved", [])
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    job.reserve_gpu()
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_processes_share_the_gpus_evenly_and_each_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    for expected in ("0", "1", "0", "1", "0"):
        assert reserve_as_another_process(monkeypatch) == expected
        job.reserve_gpu()
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected
        held.append(job._reserved)


@pytest.mark.parametrize("visible", ["5,7", "GPU-8f3a,GPU-91bc", "MIG-GPU-8f3a/1/0,MIG-GPU-8f3a/2/0"])
def test_only_gpus_that_are_visible_are_taken(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reserve_as_another_process(monkeypatch, visible) == visible.partition(",")[0]


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_nothing_to_reserve_with_one_gpu_or_none(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert reserve_as_another_process(monkeypatch) is None
    assert reserve_as_another_process(monkeypatch, "3") == "3"
