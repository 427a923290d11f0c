"""One job of a sweep, started by one of Hydra's launchers. If it fails, its folder keeps the error."""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_cnn.cli import available_cores, machine_cores, prepare_machine
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.schema import Settings
from mnist_cnn.searchpath import job_overrides
from mnist_cnn.settings import load
from mnist_cnn.sweeps.slurm import obey_slurm
from mnist_cnn.sweeps.worker import obey_driver
from mnist_cnn.training.start import Options, train

log = logging.getLogger(__name__)

_MOST_PER_GPU = 64
_reserved: list[FileLock] = []  # held until this process ends


def run_job(cfg: DictConfig) -> str:
    """Train a job. Returns what went wrong, in one line; nothing if all went well or another process trains it."""
    prepare_machine()
    hydra = HydraConfig.get()
    run, overrides = Run(Path(hydra.runtime.output_dir).resolve()), job_overrides()
    by_joblib = is_joblib(hydra.launcher)

    def train_job() -> None:
        settings = load(cfg)
        check_single_process(settings)
        if by_joblib and settings.trainer.accelerator != "cpu":
            reserve_gpu()
        with obey_slurm() if is_slurm(hydra.launcher) else nullcontext():
            train(settings, run, Options(overrides, cores=cores_per_job(hydra.launcher), show_bar=False))

    if not by_joblib:
        return attempt(train_job, run, overrides) or ""
    with obey_driver(run.path.parent) as may_run:
        return attempt(train_job, run, overrides) or "" if may_run else ""
    return ""


def is_joblib(launcher: Any) -> bool:
    """Whether joblib's processes run the jobs."""
    return str(launcher["_target_"]).endswith(".JoblibLauncher")


def is_slurm(launcher: Any) -> bool:
    """Whether SLURM runs the jobs."""
    return str(launcher["_target_"]).endswith(".SlurmLauncher")


def attempt(training: Callable[[], object], run: Run, overrides: Sequence[str]) -> str | None:
    """Run a training, and record a failure in its directory: the traceback in the log, the reason in result.json.

    Returns what went wrong, in one line: "" if nothing did, None if another process trains there.
    """
    try:
        training()
    except InUse:
        return None
    except (InputError, RunError) as error:
        log.info("error: %s", error)
        message = str(error)
    except Exception as error:
        log.info("failed", exc_info=True)
        message = f"{type(error).__name__}: {error}"
    else:
        return ""
    run.fail(message, overrides)
    return message


def check_single_process(settings: Settings) -> None:
    """Raise InputError for a training of several processes: those that Lightning starts would start the sweep again."""
    for key in ("devices", "num_nodes"):
        if (value := getattr(settings.trainer, key)) != 1:
            raise InputError(f"trainer.{key}={value} cannot be used in a sweep: give trainer.{key}=1")


def cores_per_job(launcher: Any) -> int:
    """Return how many CPU cores each of the jobs has that a launcher runs at once, for threads=null."""
    name = str(launcher["_target_"]).rpartition(".")[2]
    if is_joblib(launcher):  # it has divided OMP_NUM_THREADS already
        return max(1, machine_cores() // launcher.n_jobs) if launcher.n_jobs > 0 else 1
    if name == "LocalLauncher":  # all jobs at once
        return int(launcher.cpus_per_task or 1)
    if name == "RayLauncher":
        return int(launcher.ray.remote.get("num_cpus") or 1)
    return available_cores()  # one at a time; or a job of SLURM, which sees only the cores that it was given


def reserve_gpu() -> None:
    """Give this process one GPU of several until it ends: one that as few others of these processes use as can be.

    Call it before CUDA is used, which reads CUDA_VISIBLE_DEVICES only then.
    """
    from torch import cuda  # to count the GPUs does not start CUDA

    given, count = os.environ.get("CUDA_VISIBLE_DEVICES"), cuda.device_count()
    gpus = given.split(",")[:count] if given else [str(number) for number in range(count)]
    if _reserved or count < 2:
        return
    for turn, gpu in product(range(_MOST_PER_GPU), gpus):  # nobody is second on a GPU while another has nobody
        name = f"mnist_cnn-gpu-{gpu.replace('/', '-')}-{turn}.lock"
        lock = FileLock(Path(tempfile.gettempdir()) / name)
        with suppress(Timeout, OSError):  # it is another process's, or another user's
            lock.acquire(timeout=0)
            _reserved.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
