"""Jobs at once share the cores, and each takes a GPU of its own."""

import os

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


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, ["0", "1", "0"]),
        ("5,7", ["5", "7", "5"]),
        ("GPU-8f3a,GPU-91bc", ["GPU-8f3a", "GPU-91bc", "GPU-8f3a"]),
    ],
)
def test_processes_share_the_gpus_that_are_visible(
    visible: str | None, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for number, expected in enumerate(gpus):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        job.choose_gpu(number)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


@pytest.mark.parametrize("count", [0, 1])
def test_with_one_gpu_or_none_there_is_nothing_to_choose(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    job.choose_gpu(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
