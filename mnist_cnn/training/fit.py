"""Training: fit, test, and write the result."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mnist_cnn import signals
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.model.backend import device_errors, move
from mnist_cnn.model.metrics import class_accuracies
from mnist_cnn.model.primitives import to_floats
from mnist_cnn.model.summary import count_parameters, layer_table
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.training.machine import describe_machine
from mnist_cnn.training.pictures import log_pictures
from mnist_cnn.training.progress import EpochLog
from mnist_cnn.training.saving import SaveLast
from mnist_cnn.training.slabs import SlabClassifier
from mnist_cnn.training.trainer import close_loggers

if TYPE_CHECKING:
    from mnist_cnn.training.start import Options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The parts of one training, built and checked by `assemble`. `fit_and_test` writes the run directory."""

    settings: Settings
    conf_hash: str
    run: Run
    options: "Options"
    classifier: SlabClassifier
    data: MNISTDataModule
    trainer: pl.Trainer
    epochs: EpochLog
    saver: SaveLast
    resume_from: Path | None

    def fit_and_test(self) -> dict[str, Any]:
        """Train, test once, and write result.json. Returns its content, or an empty dictionary if training paused."""
        if self.trainer.is_global_zero:
            log.info("%s", self.describe())
        try:
            with signals.time_limit(self.settings.job_timeout), signals.defer_signals():
                self._fit()
            if self.options.pause_after is not None:
                return {}
            with device_errors(self._remedy):
                (test,) = self.trainer.test(self.classifier, self.data, verbose=False)
            if self.trainer.is_global_zero and self.data.dataset:
                log_pictures(self.trainer.loggers, self.classifier, self.data.dataset.test, self.trainer.global_step)
        finally:
            close_loggers()
        if not isfinite(test["test/loss"]):
            raise RunError(f"test/loss is {test['test/loss']}: the training diverged; try a smaller optimizer.lr")
        result = self._result(test)
        if self.trainer.is_global_zero:
            self.run.finish(result)
        return result

    def describe(self) -> str:
        """Return the layer table, and a line with the number of images and the device. Runs one forward pass."""
        few = self.settings.data.train_size if self.data.epoch_size else None
        parts = [
            f"{self.data.state_dict()['dataset']}: {len(self.data.train.labels):,} training images",
            f" ({few:,}, repeated)" if few else "",
            f", {self.data.val_size:,} held out" if self.data.val_size else "",
            f", on {self.trainer.strategy.root_device}",
            f" in {self.trainer.world_size} processes" if self.trainer.world_size > 1 else "",
            f", teachers: {len(self.classifier.teacher.nets)}" if self.classifier.teacher else "",
            f", resumed from {self.resume_from}" if self.resume_from else "",
        ]
        return f"{layer_table(self.classifier.net)}\n{''.join(parts)}"

    @property
    def _remedy(self) -> str:
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        return "try a smaller data.batch_size" + ("" if on_cpu else ", or trainer=cpu")

    def _fit(self) -> None:
        try:
            with device_errors(self._remedy):
                move(self.classifier, self.trainer.strategy.root_device)  # EMAWeightAveraging copies the weights there
                self.trainer.fit(self.classifier, self.data, ckpt_path=self.resume_from, weights_only=True)
        except MisconfigurationException as error:
            raise InputError(f"Lightning cannot train with these settings: {error}") from error
        except Exception as error:
            if self.resume_from is None or self.saver.started or isinstance(error, InputError | RunError | OSError):
                raise
            raise InputError(f"{self.resume_from} cannot be resumed: {type(error).__name__}: {error}") from error
        if not self.saver.started:
            self._load_final_weights()
        if self.settings.patience and self.options.pause_after is None:
            self.classifier.load_state_dict(read_checkpoint(self.run.best)["state_dict"])

    def _load_final_weights(self) -> None:
        """Load the final weights of a run that ended after its last epoch, but before its test.

        Lightning has restored the weights that training continues with, which are not the averaged ones.
        """
        if self.resume_from != self.run.last:
            raise InputError(f"{self.resume_from} is trained to trainer.max_epochs already: raise it")
        self.classifier.load_state_dict(read_checkpoint(self.run.last)["state_dict"])

    def _result(self, test: Mapping[str, float]) -> dict[str, Any]:
        assert self.data.dataset is not None
        best = self._best_epoch()
        return {
            "status": "complete",
            "dataset": self.data.dataset.name,
            "overrides": list(self.options.overrides),
            "settings": self.saver.config,
            "conf_hash": self.conf_hash,
            "parameters": count_parameters(self.classifier.net),
            "epochs": len(self.epochs.rows),
            "steps": self.trainer.global_step,
            "seconds_per_epoch": self.epochs.seconds,
            **({"weights": "best", "best_epoch": best + 1} if self.settings.patience else {}),
            **{name: value for name, value in self.epochs.rows[best].items() if "/" in name},
            **to_floats(test),
            "class_accuracy": self._class_accuracy(),
            "test_images": len(self.data.dataset.test.labels),
            "data_dir": str(self.data.dir.resolve()),
            **describe_machine(self.trainer.strategy.root_device),
        }

    def _best_epoch(self) -> int:
        """Return the index of the epoch whose weights are kept: with early stopping the best, otherwise the last."""
        if self.settings.patience is None:
            return -1
        values = [float(row[self.settings.monitor]) for row in self.epochs.rows]
        return values.index((min if self.settings.monitor.endswith("loss") else max)(values))

    def _class_accuracy(self) -> dict[str, float | None]:
        found = class_accuracies(self.classifier.confusion.compute())
        rounded = [None if share is None else round(share, 6) for share in found]
        return dict(zip(self.classifier.classes, rounded, strict=True))
