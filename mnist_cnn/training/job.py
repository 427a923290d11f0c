"""One training: everything built and checked from a configuration, then fitted and tested."""

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger

from mnist_cnn import __version__, signals
from mnist_cnn.data import datasets
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.errors import InputError
from mnist_cnn.model.classifier import DigitClassifier, plain
from mnist_cnn.model.nets import count_parameters, layer_table
from mnist_cnn.model.optimizers import build_optimizer, build_scheduler
from mnist_cnn.runs.checkpoint import check_resumable, read_checkpoint
from mnist_cnn.runs.directory import Run, config_hash, decisive
from mnist_cnn.training.progress import EpochLog, quiet_lightning
from mnist_cnn.training.saving import AtomicCheckpointIO, SaveBest, SaveLast

log = logging.getLogger(__name__)

AT_ONCE = 16  # steps for which Lightning's own work is done once; 7.2 to 6.5 ms a step (benchmarks/README.md)
_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


@dataclass(frozen=True)
class Job:
    """All that one training needs, built and checked, nothing yet written."""

    config: Mapping[str, Any]
    run: Run
    classifier: DigitClassifier
    data: MNISTDataModule
    dataset: datasets.Dataset
    trainer: pl.Trainer
    epochs: EpochLog
    saver: SaveLast
    resume_from: Path | None

    def fit_and_test(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Train, test once, and write result.json. Returns what stands in it."""
        if self.trainer.is_global_zero:
            self.run.sweep()
            log.info("%s", self)
        self._fit()
        (test,) = self.trainer.test(self.classifier, self.data, verbose=False)
        result = {
            "status": "complete",
            "dataset": self.dataset.name,
            "overrides": list(overrides),
            "config_hash": config_hash(self.config),
            "parameters": count_parameters(self.classifier.net),
            "epochs": len(self.epochs.rows),
            "steps": self.trainer.global_step,
            "seconds_per_epoch": self.epochs.seconds,
            **{name: value for name, value in self.epochs.rows[-1].items() if "/" in name},
            **plain(test),
            "test_images": len(self.dataset.test.labels),
            "data_dir": str(self.data.dir.resolve()),
            "device": str(self.trainer.strategy.root_device),
            "versions": {"python": platform.python_version(), "mnist_cnn": __version__}
            | {name: version(name) for name in _PACKAGES},
        }
        if self.trainer.is_global_zero:
            self.run.finish(result)
        return result

    def _fit(self) -> None:
        with signals.held():
            try:
                self.trainer.fit(self.classifier, self.data, ckpt_path=self.resume_from, weights_only=True)
            except Exception as error:
                if self.resume_from is None or self.saver.started or isinstance(error, InputError | OSError):
                    raise
                what = f"{type(error).__name__}: {error}"  # what torch and Lightning make of a state that is none
                raise InputError(f"{self.resume_from} cannot be resumed: {what}") from error
        if not self.saver.started and self.resume_from != self.run.last:
            raise InputError(f"{self.resume_from} has no epochs left to train: give more trainer.max_epochs")
        if len(self.epochs.rows) != self.trainer.max_epochs:
            raise InputError(f"{self.resume_from} cannot be resumed: it has lost rows of metrics.csv")

    def __str__(self) -> str:
        """What is about to be trained: the layer table, the images, the device."""
        held_out = f", {self.data.val_size:,} held out" if self.data.val_size else ""
        resumed = f", resumed from {self.resume_from}" if self.resume_from else ""
        images = f"{self.dataset.name}: {len(self.data.train.labels):,} training images{held_out}"
        world, where = self.trainer.world_size, self.trainer.strategy.root_device
        processes = f" in {world} processes, batches of {world} x {self.data.batch_size}" if world > 1 else ""
        return f"{layer_table(self.classifier.net)}\n{images}, on {where}{processes}{resumed}"


def assemble(config: Mapping[str, Any], run: Run, on_start: Callable[[], None] = lambda: None) -> Job:
    """Build everything from a configuration that `settings.check` has passed, and bring the data.

    Writes nothing into the run directory: that begins, and `on_start` is called, once the training is under way.
    Raises InputError for what cannot be used.
    """

    def start(trainer: pl.Trainer, _: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            run.open(resume_from)
            on_start()

    quiet_lightning()
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    classifier = DigitClassifier(
        config["model"],
        optimizer=lambda parameters: build_optimizer(config["optimizer"], parameters),
        scheduler=lambda optimizer: build_scheduler(config["scheduler"], optimizer, _steps(data, trainer)),
        label_smoothing=config["label_smoothing"],
    )
    data = MNISTDataModule(**config["data"] | {"seed": config["seed"]})
    epochs = EpochLog(run.metrics if config["logger"].get("csv") else None)
    saver = SaveLast(run.last, config["checkpoint"].get("every_steps"), decisive(config))
    best = [SaveBest(run.last.parent)] if data.val_size else []
    # the saver last, to hold what the others count
    trainer = _trainer(config, run, [LambdaCallback(on_train_start=start), epochs, *best, saver])
    resume_from = run.resume_from(config["resume"])
    if resume_from is not None:
        _check_readable(resume_from)  # before any data
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    data.steps_per_execution = _steps_per_execution(config, classifier, trainer)
    if resume_from is not None:
        check_resumable(resume_from, decisive(config), data.dataset.name, _after_a_step(classifier))
    return Job(config, run, classifier, data, data.dataset, trainer, epochs, saver, resume_from)


def _steps_per_execution(config: Mapping[str, Any], classifier: DigitClassifier, trainer: pl.Trainer) -> int:
    """Count the steps to take at once: one where somebody could tell, or where net and batch are large.

    Lightning's own options, which it takes from the environment too, may count batches, or have work to do at each;
    so has a save after so many steps.
    """
    only_ours = config["trainer"].keys() <= {"accelerator", "devices", "max_epochs"} and trainer.world_size == 1
    only_ours &= not any(name.startswith("PL_TRAINER_") for name in os.environ)
    small = count_parameters(classifier.net) * config["data"]["batch_size"] < 30e6  # the notebook's net: 6.7e6
    return AT_ONCE if only_ours and small and config["checkpoint"].get("every_steps") is None else 1


def _check_readable(checkpoint: Path) -> None:
    try:
        read_checkpoint(checkpoint)
    except InputError as error:
        raise InputError(f"{error}; resume=never starts over") from error


def _after_a_step(classifier: DigitClassifier) -> dict[str, Any]:
    """What a checkpoint of this training would hold: the names, shapes and types, not the values."""
    twin = deepcopy(classifier)
    for weights in twin.parameters():
        weights.grad = torch.zeros_like(weights)
    optimizer, scheduler = twin.build_optimizer()
    optimizer.step()
    return {
        "state_dict": twin.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()] if scheduler else [],
    }


def _trainer(config: Mapping[str, Any], run: Run, callbacks: list[pl.Callback]) -> pl.Trainer:
    loggers = _loggers(config["logger"].get("also"), run)
    try:
        return pl.Trainer(
            **config["trainer"],
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=loggers,
            default_root_dir=run.path,
            limit_val_batches=None if config["data"].get("val_size") else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # our batches know their share
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except Exception as error:
        raise InputError(f"trainer={config['trainer']} cannot be used here: {error}") from error


def _steps(data: MNISTDataModule, trainer: pl.Trainer) -> int:
    # Not trainer.estimated_stepping_batches: asked while the optimizer is built, it sets the loaders up before
    # a resumed run has told them where to go on (Lightning 2.6).
    per_epoch = -(-data.steps_per_epoch(trainer.world_size) // trainer.accumulate_grad_batches)
    return per_epoch * (trainer.max_epochs or 1)


def _loggers(also: object, run: Run) -> list[Logger]:
    if also is None:
        return []
    try:
        options = {key: str(run.path) if value is None else value for key, value in dict(also).items()}  # type: ignore[call-overload]
        module, _, name = options.pop("_target_").rpartition(".")
        return [getattr(import_module(module), name)(**options)]
    except ModuleNotFoundError as error:
        extra = name.lower().removesuffix("logger")  # TensorBoardLogger: tensorboard
        raise InputError(f"logger={extra} needs a package more: pip install 'mnist_cnn[{extra}]'") from error
    except Exception as error:
        raise InputError(f"logger.also={also} cannot be used: {error}") from error
