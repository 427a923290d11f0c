"""One training: assembled from the settings, fitted, and tested."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EMAWeightAveraging, LambdaCallback
from omegaconf import OmegaConf

from mnist_cnn import signals
from mnist_cnn.cli import available_cores
from mnist_cnn.data.augment import Augmentation
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.model.backend import device_errors, move, use_exact_kernels
from mnist_cnn.model.classifier import to_floats
from mnist_cnn.model.nets import build_net, register_net
from mnist_cnn.model.optimizers import build_optimizer, build_scheduler, rehearse
from mnist_cnn.model.summary import count_parameters, layer_table
from mnist_cnn.model.teacher import Teacher
from mnist_cnn.runs.checkpoint import check_resumable, load_classifier, read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import standing_of
from mnist_cnn.runs.table import find_runs
from mnist_cnn.schema import Own, Settings
from mnist_cnn.settings import conf_digest
from mnist_cnn.training.machine import describe_machine
from mnist_cnn.training.options import Options
from mnist_cnn.training.progress import EpochLog, quiet_lightning
from mnist_cnn.training.saving import SaveBest, SaveLast
from mnist_cnn.training.slabs import STEPS_PER_SLAB, SlabClassifier
from mnist_cnn.training.trainer import build_trainer, close_loggers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """All that one training needs, built and checked. Nothing is written before `fit_and_test`."""

    settings: Settings
    conf_hash: str
    run: Run
    options: Options
    classifier: SlabClassifier
    data: MNISTDataModule
    trainer: pl.Trainer
    epochs: EpochLog
    saver: SaveLast
    resume_from: Path | None

    def fit_and_test(self) -> dict[str, Any]:
        """Train, test once, and write result.json. Returns its content; nothing if training paused."""
        if self.trainer.is_global_zero:
            log.info("%s", self)
        try:
            with signals.time_limit(self.settings.job_timeout), signals.defer_signals():
                self._fit()
            if self.options.pause_after is not None:
                return {}
            with device_errors(self._remedy):
                (test,) = self.trainer.test(self.classifier, self.data, verbose=False)
        finally:
            close_loggers()
        if not isfinite(test["test/loss"]):
            raise RunError(f"test/loss is {test['test/loss']}: the training diverged; try a smaller optimizer.lr")
        result = self._result(test)
        if self.trainer.is_global_zero:
            self.run.finish(result)
        return result

    @property
    def _remedy(self) -> str:
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        return "try a smaller data.batch_size" + ("" if on_cpu else ", or trainer=cpu")

    def _fit(self) -> None:
        try:
            with device_errors(self._remedy):
                move(self.classifier, self.trainer.strategy.root_device)  # before a callback averages the weights there
                self.trainer.fit(self.classifier, self.data, ckpt_path=self.resume_from, weights_only=True)
        except MisconfigurationException as error:
            raise InputError(f"Lightning cannot train with these settings: {error}") from error
        except Exception as error:
            if self.resume_from is None or self.saver.started or isinstance(error, InputError | RunError | OSError):
                raise
            raise InputError(f"{self.resume_from} cannot be resumed: {type(error).__name__}: {error}") from error
        if self.saver.started:
            return
        if self.resume_from != self.run.last:
            raise InputError(f"{self.resume_from} has no epochs left to train: give more trainer.max_epochs")
        # all epochs were trained by a process that could not test: Lightning has loaded the weights to train on with,
        # which are not the averaged ones
        self.classifier.load_state_dict(read_checkpoint(self.run.last)["state_dict"])

    def _result(self, test: Mapping[str, float]) -> dict[str, Any]:
        assert self.data.dataset is not None
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
            **{name: value for name, value in self.epochs.rows[-1].items() if "/" in name},
            **to_floats(test),
            "test_images": len(self.data.dataset.test.labels),
            "data_dir": str(self.data.dir.resolve()),
            **describe_machine(self.trainer.strategy.root_device),
        }

    def __str__(self) -> str:
        """Return what is about to be trained: the layer table, the images, the device."""
        held_out = f", {self.data.val_size:,} held out" if self.data.val_size else ""
        few = self.settings.data.train_size if self.data.epoch_size else None
        repeated = f" ({few:,}, repeated)" if few else ""
        shown = f"{len(self.data.train.labels):,} training images{repeated}{held_out}"
        images = f"{self.data.state_dict()['dataset']}: {shown}"
        world, where = self.trainer.world_size, self.trainer.strategy.root_device
        processes = f" in {world} processes" if world > 1 else ""
        teacher = self.classifier.teacher
        taught = f", teachers: {len(teacher.nets)}" if teacher else ""
        resumed = f", resumed from {self.resume_from}" if self.resume_from else ""
        return f"{layer_table(self.classifier.net)}\n{images}, on {where}{processes}{taught}{resumed}"


def assemble(cfg: Settings, run: Run, options: Options = Options()) -> Job:  # noqa: B008 - it is frozen
    """Build everything and bring the data. The run directory is written when training starts.

    Raises InputError for what cannot be used.
    """
    conf = conf_digest(options.overrides)
    quiet_lightning()
    use_exact_kernels(cfg.trainer.deterministic is not False)
    torch.set_num_threads(cfg.threads or options.cores or available_cores())  # a job before may have
    if isinstance(cfg.model, Own):
        register_net(cfg.model.name)  # the user's own configuration names it
    outdated = cfg.resume == "outdated" and standing_of(run, cfg).status == "outdated"
    resume_from = run.checkpoint_to_resume("never" if outdated else cfg.resume)

    def describe(trainer: pl.Trainer, _: pl.LightningModule, stage: str) -> None:
        for logger in trainer.loggers if stage == "fit" and trainer.is_global_zero else ():
            logger.log_hyperparams({"run": run.path.name, **decisive})  # before Lightning logs model.* alone

    def start(trainer: pl.Trainer, _: pl.LightningModule) -> None:
        if cfg.threads:  # Lightning has chosen for the processes of DDP
            torch.set_num_threads(cfg.threads)
        if trainer.is_global_zero:
            config, given = OmegaConf.create(cfg.to_dict()), OmegaConf.create(list(options.overrides))
            run.begin(OmegaConf.to_yaml(config), OmegaConf.to_yaml(given), resume_from)
            options.on_start()

    def pause(trainer: pl.Trainer, _: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 == options.pause_after

    epochs = EpochLog(run.metrics if cfg.logger.csv else None, options.show_bar)
    teacher = _teacher(cfg)
    decisive = cfg.decisive() | ({"teacher.weights": teacher.digest()} if teacher else {})
    saver = SaveLast(run.last, cfg.checkpoint.every_steps, decisive)
    best = [SaveBest(run.best)] if cfg.data.val_size else []
    ours = LambdaCallback(setup=describe, on_train_start=start, on_train_epoch_end=pause)
    steps_per_batch = _steps_per_batch(cfg)
    average = [] if cfg.ema_decay is None else [EMAWeightAveraging(decay=cfg.ema_decay**steps_per_batch)]
    # the saver last: it saves what the others count
    trainer = build_trainer(cfg, run, [ours, *average, epochs, *best, saver])
    data = _data(cfg, steps_per_batch)
    epochs.steps_per_epoch = steps = -(-len(data.train.labels) // (trainer.world_size * cfg.data.batch_size))
    all_steps = steps * cfg.trainer.max_epochs
    rehearse(cfg.optimizer.to_dict(), cfg.scheduler.to_dict(), all_steps, cfg.trainer.max_epochs)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    classifier = _classifier(cfg, all_steps, teacher)
    if resume_from:
        check_resumable(resume_from, decisive, str(data.state_dict()["dataset"]))
    return Job(cfg, conf, run, options, classifier, data, trainer, epochs, saver, resume_from)


def _steps_per_batch(cfg: Settings) -> int:
    """Return how many optimizer steps one of Lightning's batches is."""
    small = count_parameters(build_net(**cfg.model.to_dict())) * cfg.data.batch_size < 30e6  # the notebook's: 6.7e6
    return STEPS_PER_SLAB if small else 1


def _data(cfg: Settings, steps_per_batch: int) -> MNISTDataModule:
    options = cfg.data.model_dump()
    options["batch_size"] *= steps_per_batch
    data = MNISTDataModule(**options, seed=cfg.seed, augmentation=Augmentation(**cfg.augment.to_dict()))
    data.prepare_data()
    data.setup()
    return data


def _classifier(cfg: Settings, steps: int, teacher: Teacher | None) -> SlabClassifier:
    clip = cfg.trainer.model_dump(include={"gradient_clip_val", "gradient_clip_algorithm"})
    return SlabClassifier(
        cfg.data.batch_size,
        clip if cfg.trainer.gradient_clip_val else None,
        model=cfg.model.to_dict(),
        optimizer=lambda parameters: build_optimizer(cfg.optimizer.to_dict(), parameters),
        scheduler=lambda optimizer: build_scheduler(cfg.scheduler.to_dict(), optimizer, steps, cfg.trainer.max_epochs),
        label_smoothing=cfg.label_smoothing,
        teacher=teacher,
    )


def _teacher(cfg: Settings) -> Teacher | None:
    """Load the networks under teacher.runs, if it is given."""
    if cfg.teacher.runs is None:
        return None
    if cfg.label_smoothing:
        raise InputError(f"label_smoothing={cfg.label_smoothing} cannot be used with teacher.runs: give 0")
    path = Path(cfg.teacher.runs)
    if path.is_dir():
        files = [run.last for run in find_runs(path) if run.status() == "complete"]
    else:
        files = [path] if path.exists() else []
    if not files:
        raise InputError(f"teacher.runs={path} holds no complete run: train the teachers first")
    return Teacher([load_classifier(file).net for file in files], cfg.teacher.temperature)
