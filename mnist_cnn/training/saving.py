"""Checkpoints: written atomically, only if all weights are finite, and before a signal ends the run."""

import os
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from signal import SIGTERM
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from mnist_cnn import signals
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.files import write_atomically
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.schema import MOST_THREADS

_GENERATORS = ("cuda", "mps")  # devices with random generators of their own


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints atomically, and reads them without running code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        try:
            content = archive.to_bytes(checkpoint)
        except InputError as error:  # an optimizer may have other state than tensors and primitives
            raise RunError(f"the state of this run cannot be saved: it {error}") from error
        write_atomically(Path(path), content)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: object = None,
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class SaveBest(Checkpoint):
    """Saves the epoch with the best val/acc or val/loss. Unlike ModelCheckpoint, its state contains no file names."""

    def __init__(self, path: Path, monitor: str = "val/acc") -> None:
        self.path, self.monitor, self.score = path, monitor, -inf

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score = float(state_dict["score"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.path.is_file():  # a new run, or one that resumes from another directory
            self.score = -inf

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        score = -value if self.monitor.endswith("loss") else value
        if score > self.score:
            self.score = score
            trainer.save_checkpoint(self.path)


class SaveLast(Checkpoint):
    """Saves the newest state: after every epoch, every `every_steps` steps, and upon a signal.

    A NaN or infinite weight or loss is never saved: it ends the run with a RunError.
    `config` is stored in each checkpoint, so that a run is resumed only with the same settings.
    """

    def __init__(self, path: Path, every_steps: int | None = None, config: Mapping[str, Any] | None = None) -> None:
        self.path, self.every_steps, self.config = path, every_steps, dict(config or {})
        self.started = False
        self._saved_step, self._device = 0, "cpu"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device.type

    def state_dict(self) -> dict[str, Any]:
        random = {"random": torch.get_rng_state()}
        if self._device in _GENERATORS:
            random[f"random_{self._device}"] = torch.get_device_module(self._device).get_rng_state()
        return {**random, "threads": torch.get_num_threads()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["random"])
        if f"random_{self._device}" in state_dict:  # it may come from another device
            torch.get_device_module(self._device).set_rng_state(state_dict[f"random_{self._device}"])
        torch.set_num_threads(min(int(state_dict["threads"]), MOST_THREADS))  # their number affects the last bits

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.config

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self._saved_step = True, trainer.global_step
        if trainer.global_rank:  # the first process has restored the sums of all
            cast(DigitClassifier, pl_module).train_metrics.reset()
        signals.handle_signals()  # Lightning has just replaced the handler of SIGTERM, and would not save

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        due = self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps
        # several processes must agree, which takes time: only when they save anyway
        stop = (due or trainer.world_size == 1) and self._asked_to_stop(trainer)
        # reading weights waits for a GPU, so on a GPU only before saving
        if due or stop or trainer.is_last_batch or pl_module.device.type == "cpu":
            self._check_finite(trainer, pl_module)
        # a checkpoint of an epoch's last batch would skip the end of the epoch when resumed (Lightning 2.6)
        if (due or stop) and not trainer.is_last_batch:
            self._save(trainer, pl_module, stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_finite(trainer, pl_module)
        for name, value in trainer.callback_metrics.items():
            self._require_finite(trainer, bool(value.isfinite()), name)
        self._save(trainer, pl_module, self._asked_to_stop(trainer))

    def _asked_to_stop(self, trainer: pl.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(signals.received() is not None, all=False)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule, then_stop: bool) -> None:
        with cast(DigitClassifier, module).train_metrics.sync_context():  # one process saves the sums of all
            trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step
        if then_stop:
            raise signals.Stopped(signals.received() or SIGTERM)

    def _check_finite(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # a NaN loss makes the weights NaN in the same step, an infinite loss usually does
        here = all(bool(weights.isfinite().all()) for weights in module.parameters())
        self._require_finite(trainer, trainer.strategy.reduce_boolean_decision(here), "the weights")

    def _require_finite(self, trainer: pl.Trainer, finite: bool, what: str) -> None:
        if not finite:
            saved = f"the last checkpoint is from step {self._saved_step}" if self._saved_step else "nothing was saved"
            raise RunError(
                f"{what} became NaN or infinite by step {trainer.global_step}: try a smaller "
                f"optimizer.lr, or trainer.gradient_clip_val=1; {saved}"
            )
