"""Lightning's Trainer and logger, built from the settings."""

import os
import re
import sys
from typing import Any

import lightning.pytorch as pl
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger

from mnist_cnn.errors import InputError, missing_package
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.training.saving import AtomicCheckpointIO


def build_trainer(cfg: Settings, run: Run, callbacks: list[pl.Callback], steps_per_slab: int) -> pl.Trainer:
    """Build the Trainer and its logger. Lightning's batches are slabs.

    Raises InputError for devices, options and loggers that this machine does not have.
    """
    options = cfg.trainer.model_dump(exclude={"gradient_clip_val", "gradient_clip_algorithm"})
    if options["log_every_n_steps"]:
        if cfg.logger.also is None:
            raise InputError("trainer.log_every_n_steps needs a logger: give logger=tensorboard, wandb or mlflow")
        options["log_every_n_steps"] = max(1, options["log_every_n_steps"] // steps_per_slab)
    logger = _logger(cfg.logger.also, run) or (_Unused() if cfg.callbacks else False)
    try:
        trainer = pl.Trainer(
            **options,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=logger,
            default_root_dir=run.path,
            limit_val_batches=None if cfg.data.val_size else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # EpochOrder shards the images itself
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except Exception as error:
        reason = re.sub(r"(\[\d+)(, \d+){3,}", r"\1, …", str(error))  # a long list of GPUs
        where = f"trainer.accelerator={cfg.trainer.accelerator} trainer.devices={cfg.trainer.devices}"
        raise InputError(f"{where} is not possible here: {reason}") from error
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores:
        raise InputError(f"trainer.devices={cfg.trainer.devices} is too many: this machine has {cores} CPU cores")
    return trainer


def build_callbacks(cfg: Settings) -> list[pl.Callback]:
    """Build the user's own callbacks, and early stopping. Raises InputError if one is not a Lightning callback."""
    built = []
    for name, options in cfg.callbacks.items():
        try:
            callback = instantiate(options)
            if not isinstance(callback, pl.Callback):
                raise TypeError("it is not a Callback of Lightning")  # noqa: TRY301 - reported like any other reason
        except Exception as error:
            raise InputError(f"callbacks.{name} cannot be built: {error.__cause__ or error}") from error
        built.append(callback)
    if cfg.patience is None:
        return built
    if not cfg.data.val_size:
        raise InputError(f"patience={cfg.patience} needs validation images: give data.val_size")
    mode = "min" if cfg.monitor.endswith("loss") else "max"
    return [*built, EarlyStopping(cfg.monitor, patience=cfg.patience, mode=mode)]


def close_loggers() -> None:
    """Finish the W&B run: otherwise W&B would log the next job of a sweep into it."""
    if wandb := sys.modules.get("wandb"):
        wandb.finish()


class _Unused(Logger):
    """For callbacks that require a logger, such as LearningRateMonitor, where there is none."""

    name = version = None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None: ...

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


def _logger(also: dict[str, Any] | None, run: Run) -> Logger | None:
    if also is None:
        return None
    ours = {"save_dir": str(run.path), "name": run.path.name, "run_name": run.path.name}
    filled = {key: ours.get(key) if value is None else value for key, value in also.items()}
    try:
        logger = instantiate(filled)
        if not isinstance(logger, Logger):
            raise TypeError("it is not a Lightning Logger")  # noqa: TRY301 - reported like any other reason
    except Exception as error:
        extra = str(also.get("_target_")).rpartition(".")[2].lower().removesuffix("logger")  # TensorBoardLogger
        reason = error.__cause__ or error
        raise missing_package(f"logger={extra} cannot be used: {reason}", extra) from error
    return logger
