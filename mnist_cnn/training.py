"""One training: everything built and checked from a configuration, then fitted and tested."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

from mnist_cnn import __version__, sources
from mnist_cnn.checkpoint import AtomicCheckpointIO, SaveLast, check_resumable
from mnist_cnn.classifier import DigitClassifier, plain
from mnist_cnn.data import MNISTDataModule
from mnist_cnn.errors import InputError, one_of, whole_number
from mnist_cnn.nets import count_parameters, layer_table
from mnist_cnn.optim import build_optimizer, build_scheduler
from mnist_cnn.progress import EpochLog, quiet_lightning
from mnist_cnn.runs import Run, checkpoint_file, config_hash, decisive

log = logging.getLogger(__name__)

# What may be asked of Lightning's Trainer: the rest is ours to set, or would cut a run's meaning short.
_TRAINER_KEYS = (
    *("accelerator", "devices", "num_nodes", "strategy", "precision", "max_epochs", "accumulate_grad_batches"),
    *("gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark", "detect_anomaly", "profiler"),
)
_PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


@dataclass(frozen=True)
class Job:
    """All that one training needs, built and checked, nothing yet written."""

    config: Mapping[str, Any]
    run: Run
    classifier: DigitClassifier
    data: MNISTDataModule
    dataset: sources.Dataset
    trainer: pl.Trainer
    epochs: EpochLog
    resume_from: Path | None

    def fit_and_test(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Train, test once, and write result.json. Returns what stands in it."""
        if self.trainer.is_global_zero:
            self.run.open(self.resume_from)
            log.info("%s", self)
        self.trainer.fit(self.classifier, self.data, ckpt_path=self.resume_from, weights_only=True)
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

    def __str__(self) -> str:
        """What is about to be trained: the layer table, the images, the device."""
        held_out = f", {self.data.val_size:,} held out" if self.data.val_size else ""
        resumed = f", resumed from {self.resume_from}" if self.resume_from else ""
        images = f"{self.dataset.name}: {len(self.data.train.labels):,} training images{held_out}"
        world, where = self.trainer.world_size, self.trainer.strategy.root_device
        processes = f" in {world} processes, batches of {world} x {self.data.batch_size}" if world > 1 else ""
        return f"{layer_table(self.classifier.net)}\n{images}, on {where}{processes}{resumed}"


def assemble(config: Mapping[str, Any], run: Run) -> Job:
    """Build and check everything, and bring the data, without writing into the run directory.

    Raises InputError for what cannot be used.
    """
    _check_keys(config)
    quiet_lightning()
    seed = whole_number("seed", config.get("seed"), 0, 2**32 - 1)
    pl.seed_everything(seed, workers=True, verbose=False)
    classifier = DigitClassifier(
        config["model"],
        optimizer=lambda parameters: build_optimizer(config["optimizer"], parameters),
        scheduler=lambda optimizer: build_scheduler(config["scheduler"], optimizer, _steps(data, trainer)),
    )
    build_scheduler(config["scheduler"], build_optimizer(config["optimizer"], classifier.parameters()), steps=100)
    data = MNISTDataModule(**config["data"] | {"seed": seed})
    epochs = EpochLog(run.metrics if config["logger"].get("csv") else None)
    trainer = _trainer(config, run, epochs)
    resume_from = _resume_from(config.get("resume"), run)
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    if resume_from is not None:
        check_resumable(resume_from, decisive(config), data.dataset.name)
    return Job(config, run, classifier, data, data.dataset, trainer, epochs, resume_from)


def _check_keys(config: Mapping[str, Any]) -> None:
    for group in ("checkpoint", "data", "logger", "model", "optimizer", "scheduler", "trainer"):
        if not isinstance(config.get(group), Mapping):
            raise InputError(f"{group}={config.get(group)} cannot be used: --help lists the choices")
    if not isinstance(config["data"].get("dir"), str):
        raise InputError(f"data.dir={config['data'].get('dir')} cannot be used: give a folder")
    for group, keys in {"data": signature(MNISTDataModule).parameters, "trainer": _TRAINER_KEYS}.items():
        for key in config[group]:
            one_of(f"the key {group}.*", key, keys)


def _trainer(config: Mapping[str, Any], run: Run, epochs: EpochLog) -> pl.Trainer:
    whole_number("trainer.max_epochs", config["trainer"].get("max_epochs"), 1)
    every_steps, val_size = config["checkpoint"].get("every_steps"), config["data"].get("val_size", 0)
    if every_steps is not None:
        whole_number("checkpoint.every_steps", every_steps, 1)
    callbacks: list[pl.Callback] = [epochs]
    if val_size:
        best = ModelCheckpoint(run.last.parent, "best", monitor="val/acc", mode="max", enable_version_counter=False)
        callbacks.append(best)
    callbacks.append(SaveLast(run.last, every_steps, decisive(config)))  # last, to hold what the others count
    loggers = _loggers(config["logger"].get("also"), run)
    try:
        return pl.Trainer(
            **config["trainer"],
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=loggers,
            default_root_dir=run.path,
            limit_val_batches=None if val_size else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # our batches know their share
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"trainer={config['trainer']} cannot be used here: {error}") from error


def _steps(data: MNISTDataModule, trainer: pl.Trainer) -> int:
    # Not trainer.estimated_stepping_batches: asked while the optimizer is built, it sets the loaders up before
    # a resumed run has told them where to go on (Lightning 2.6).
    per_epoch = -(-data.steps_per_epoch(trainer.world_size) // trainer.accumulate_grad_batches)
    return per_epoch * (trainer.max_epochs or 1)


def _loggers(also: Mapping[str, Any] | None, run: Run) -> list[Logger]:
    if also is None:
        return []
    options = {key: str(run.path) if value is None else value for key, value in also.items()}
    module, _, name = options.pop("_target_").rpartition(".")
    try:
        return [getattr(import_module(module), name)(**options)]
    except ModuleNotFoundError as error:
        extra = name.lower().removesuffix("logger")  # TensorBoardLogger: tensorboard
        raise InputError(f"logger={extra} needs a package more: pip install 'mnist_cnn[{extra}]'") from error
    except TypeError as error:
        raise InputError(f"logger={name} cannot be used with {options}: {error}") from error


def _resume_from(resume: object, run: Run) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        return run.last if run.last.is_file() else None
    if not isinstance(resume, str):
        raise InputError(f"resume={resume} cannot be used: give auto, never, or the path of a checkpoint or run")
    return checkpoint_file(Path(resume).resolve())  # outputs/latest is about to point to this run
