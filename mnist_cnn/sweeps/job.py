"""One job of a sweep, started by one of Hydra's launchers. If it fails, its folder keeps the error."""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_cnn.cli import available_cores, machine_cores, prepare_machine
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import load
from mnist_cnn.training.options import Options
from mnist_cnn.training.start import train

log = logging.getLogger(__name__)

_DEVICES = Path("/dev")
_reserved: list[FileLock] = []  # held until this process ends


def run_job(cfg: DictConfig) -> str:
    """Train a job. Returns what went wrong, in one line; nothing if all went well or another process trains it."""
    prepare_machine()
    hydra = HydraConfig.get()
    run, overrides = Run(Path(hydra.runtime.output_dir).resolve()), list(hydra.overrides.task)

    def train_job() -> None:
        if str(hydra.launcher["_target_"]).endswith(".JoblibLauncher"):
            reserve_gpu()
        settings = load(cfg)
        check_single_process(settings)
        train(settings, run, Options(overrides, cores=cores_per_job(hydra.launcher), show_bar=False))

    return attempt(train_job, run, overrides) or ""


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
    if name == "JoblibLauncher":  # it has divided OMP_NUM_THREADS already
        return max(1, machine_cores() // launcher.n_jobs) if launcher.n_jobs > 0 else 1
    if name == "LocalLauncher":  # all jobs at once
        return int(launcher.cpus_per_task or 1)
    if name == "RayLauncher":
        return int(launcher.ray.remote.get("num_cpus") or 1)
    return available_cores()  # one at a time; or a job of SLURM, which sees only the cores that it was given


def reserve_gpu() -> None:
    """Give this process a GPU of its own until it ends, on a machine with several. Call it before torch is imported."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = [device.name.removeprefix("nvidia") for device in sorted(_DEVICES.glob("nvidia[0-9]"))]
    gpus = there if given is None else given.split(",")
    if _reserved or len(gpus) < 2:
        return
    for gpu in gpus:
        lock = FileLock(Path(tempfile.gettempdir()) / f"mnist_cnn-gpu-{gpu}.lock")
        with suppress(Timeout, OSError):  # it is another user's
            lock.acquire(timeout=0)
            _reserved.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
