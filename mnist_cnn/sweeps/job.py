"""One job of a sweep, started by one of Hydra's launchers. If it fails, its folder keeps the error."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

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


def run_job(cfg: DictConfig) -> str:
    """Train a job. Returns what went wrong, in one line; empty if nothing did, or if another process trains it."""
    prepare_machine()
    hydra = HydraConfig.get()
    run, overrides = Run(Path(hydra.runtime.output_dir).resolve()), job_overrides()
    launcher = name_launcher(hydra.launcher)

    def train_job() -> None:
        settings = load(cfg)
        check_single_process(settings)
        if launcher == "JoblibLauncher" and settings.trainer.accelerator != "cpu":
            choose_gpu(hydra.job.num)
        with obey_slurm() if launcher == "SlurmLauncher" else nullcontext():
            train(settings, run, Options(overrides, cores=cores_per_job(hydra.launcher), show_bar=False))

    with obey_driver(run.path.parent) if launcher == "JoblibLauncher" else nullcontext(True) as may_run:
        return attempt(train_job, run, overrides) or "" if may_run else ""
    return ""  # the driver has stopped it


def name_launcher(launcher: Any) -> str:
    """Return the class of a launcher: BasicLauncher, JoblibLauncher, SlurmLauncher, ..."""
    return str(launcher["_target_"]).rpartition(".")[2]


def attempt(training: Callable[[], object], run: Run, overrides: Sequence[str]) -> str | None:
    """Train, and record a failure in the run directory: its traceback in the log, its reason in result.json.

    Returns the reason, in one line: empty if it did not fail, None if another process trains there.
    """
    try:
        training()
    except InUse:
        return None
    except (InputError, RunError) as error:
        log.info("error: %s", error)
        message = str(error)
    except Exception as error:  # a bug must not end the other jobs
        log.info("failed", exc_info=True)
        message = f"{type(error).__name__}: {error}"
    else:
        return ""
    run.fail(message, overrides)
    return message


def check_single_process(settings: Settings) -> None:
    """Raise InputError for a training of several processes: each that Lightning starts would start the sweep again."""
    for key in ("devices", "num_nodes"):
        if (value := getattr(settings.trainer, key)) != 1:
            raise InputError(f"trainer.{key}={value} is not possible in a sweep or search: set trainer.{key}=1")


def cores_per_job(launcher: Any) -> int:
    """Return how many CPU cores each job may use, if threads=null: a launcher may run several at once."""
    name = name_launcher(launcher)
    if name == "JoblibLauncher":  # it has already divided OMP_NUM_THREADS
        return max(1, machine_cores() // launcher.n_jobs) if launcher.n_jobs > 0 else 1
    if name == "LocalLauncher":  # all jobs at once
        return int(launcher.cpus_per_task or 1)
    if name == "RayLauncher":
        return int(launcher.ray.remote.get("num_cpus") or 1)
    return available_cores()  # one at a time; or a job of SLURM, which sees only its own cores


def choose_gpu(number: int) -> None:
    """Give this process the GPU of its first job's number: otherwise all of joblib's processes would use the first GPU.

    Call it before CUDA is used, which reads CUDA_VISIBLE_DEVICES only then.
    """
    from torch import cuda

    given, count = os.environ.get("CUDA_VISIBLE_DEVICES"), cuda.device_count()  # this does not start CUDA
    if count > 1:  # one of them is visible afterwards
        gpus = given.split(",")[:count] if given else [str(gpu) for gpu in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % count]
