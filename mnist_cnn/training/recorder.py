"""RunRecorder: the callback that begins the run directory, logs the settings, and pauses the training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf

from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings

if TYPE_CHECKING:
    from mnist_cnn.training.start import Options


class RunRecorder(pl.Callback):
    """Writes into the run directory when training starts, not before. Loggers are given `config`."""

    def __init__(
        self, cfg: Settings, run: Run, options: "Options", config: Mapping[str, Any], resume_from: Path | None
    ) -> None:
        self.cfg, self.run, self.options, self.config, self.resume_from = cfg, run, options, config, resume_from

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for logger in trainer.loggers if stage == "fit" and trainer.is_global_zero else ():
            try:
                # before Lightning logs model.* alone
                logger.log_hyperparams({"run": self.run.path.name, **self.config})
            except Exception as error:  # loggers check their options only when they start
                raise InputError(f"logger={type(logger).__name__} cannot start: {error}") from error

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.cfg.threads:  # Lightning sets another number in the processes of DDP
            torch.set_num_threads(self.cfg.threads)
        if trainer.is_global_zero:
            config, overrides = (OmegaConf.create(each) for each in (self.cfg.to_dict(), [*self.options.overrides]))
            self.run.begin(OmegaConf.to_yaml(config), OmegaConf.to_yaml(overrides), self.resume_from)
            self.options.on_start()
        if any(each.stopped_epoch for each in trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)):
            trainer.should_stop = True  # the process that stopped early could not test

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.options.pause_after:
            trainer.should_stop = True
