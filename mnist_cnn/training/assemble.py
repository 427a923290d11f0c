"""Build all parts of one training from the settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from mnist_cnn.cli import available_cores
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.model.backend import use_exact_kernels
from mnist_cnn.model.registry import build_net, register_net
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.model.teacher import Teacher
from mnist_cnn.runs.checkpoint import check_resumable, load_classifier
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import standing_of
from mnist_cnn.runs.table import find_runs
from mnist_cnn.schema import Own, Settings
from mnist_cnn.settings import conf_digest
from mnist_cnn.training.fit import Training
from mnist_cnn.training.optimization import build_optimizer, build_scheduler, rehearse
from mnist_cnn.training.progress import EpochLog, quiet_lightning
from mnist_cnn.training.recorder import RunRecorder
from mnist_cnn.training.saving import SaveBest, SaveLast
from mnist_cnn.training.slabs import STEPS_PER_SLAB, SlabClassifier
from mnist_cnn.training.start_weights import digest, digest_of, read_weights, start_from
from mnist_cnn.training.trainer import build_callbacks, build_trainer

if TYPE_CHECKING:
    from mnist_cnn.training.start import Options


def assemble(cfg: Settings, run: Run, options: "Options") -> Training:
    """Build and check everything that a training needs. The run directory is not written yet.

    The trainer comes before the data, so that a device that does not exist costs no download.
    Raises InputError for settings that cannot be trained with.
    """
    conf_hash = conf_digest(options.overrides)
    _prepare_process(cfg, options)
    resume_from = _checkpoint_to_resume(cfg, run)
    teacher = _load_teacher(cfg)
    started_from = digest_of(resume_from) if resume_from and cfg.start_from else None
    source = read_weights(cfg.start_from) if cfg.start_from and not started_from else None
    config = decisive(cfg.to_dict()) | ({"teacher.weights": teacher.digest()} if teacher else {})
    config |= {"start_from.weights": digest(source.weights) if source else started_from} if cfg.start_from else {}
    steps_per_slab = _steps_per_slab(cfg)

    recorder = RunRecorder(cfg, run, options, config, resume_from)
    epochs = EpochLog(run.metrics if cfg.logger.csv else None, options.show_bar)
    # decay^16 once per slab, also after the shorter last slab of an epoch
    average = [] if cfg.ema_decay is None else [EMAWeightAveraging(decay=cfg.ema_decay**steps_per_slab)]
    best = [SaveBest(run.best, cfg.monitor if cfg.patience else "val/acc")] if cfg.data.val_size else []
    last = SaveLast(run.last, cfg.checkpoint.every_steps, config)
    # Lightning calls them in this order: checkpoints come last, and contain the state of the others
    trainer = build_trainer(cfg, run, [recorder, *average, *build_callbacks(cfg), epochs, *best, last], steps_per_slab)

    data = _load_data(cfg, steps_per_slab)
    steps = cfg.trainer.max_epochs * -(-len(data.train.labels) // (trainer.world_size * cfg.data.batch_size))
    classifier = _build_classifier(cfg, steps, teacher, data)
    if teacher and teacher.classes != classifier.classes:
        raise InputError(f"teacher.runs={cfg.teacher.runs} has other classes than the data")
    if source:
        start_from(source, classifier.net, classifier.classes)
    classifier.freeze_layers(cfg.freeze)
    if resume_from:
        check_resumable(resume_from, config, str(data.state_dict()["dataset"]))
    return Training(cfg, conf_hash, run, options, classifier, data, trainer, epochs, last, resume_from)


def _prepare_process(cfg: Settings, options: "Options") -> None:
    """Set the options of the whole process, which an earlier training in it may have changed."""
    quiet_lightning()
    use_exact_kernels(cfg.trainer.deterministic is not False)
    torch.set_num_threads(cfg.threads or options.cores or available_cores())
    if isinstance(cfg.model, Own):
        register_net(cfg.model.name)  # the user's own configuration names it


def _checkpoint_to_resume(cfg: Settings, run: Run) -> Path | None:
    start_over = cfg.resume == "outdated" and standing_of(run, cfg).status == "outdated"
    return run.checkpoint_to_resume("never" if start_over else cfg.resume)


def _load_teacher(cfg: Settings) -> Teacher | None:
    """Load the networks under teacher.runs, if it is set."""
    if cfg.teacher.runs is None:
        return None
    for key, value in (("label_smoothing", cfg.label_smoothing), ("class_weights", cfg.class_weights)):
        if value:
            raise InputError(f"{key}={value} cannot be combined with teacher.runs, which replaces the labels")
    path = Path(cfg.teacher.runs)
    if path.is_dir():
        files = [run.trained for run in find_runs(path) if run.status() == "complete"]
    else:
        files = [path] if path.exists() else []
    if not files:
        raise InputError(f"teacher.runs={path} holds no complete run: train the teachers first")
    teachers = [load_classifier(file) for file in files]
    if any(each.classes != teachers[0].classes for each in teachers):
        raise InputError(f"teacher.runs={path} holds runs of different classes")
    return Teacher([each.net for each in teachers], cfg.teacher.temperature, teachers[0].classes)


def _steps_per_slab(cfg: Settings) -> int:
    """Return the number of optimizer steps per slab: 1 for large networks, whose steps are slow."""
    is_small = count_parameters(build_net(**cfg.model.to_dict())) * cfg.data.batch_size < 30e6  # the notebook: 6.7e6
    return STEPS_PER_SLAB if is_small else 1


def _load_data(cfg: Settings, steps_per_slab: int) -> MNISTDataModule:
    options = cfg.data.model_dump() | {"batch_size": cfg.data.batch_size * steps_per_slab}
    data = MNISTDataModule(**options, seed=cfg.seed, augmentation=cfg.augment)
    data.prepare_data()
    data.setup()
    return data


def _build_classifier(cfg: Settings, steps: int, teacher: Teacher | None, data: MNISTDataModule) -> SlabClassifier:
    """Build the classifier with initial weights that depend only on the seed."""
    assert data.dataset is not None
    optimizer, scheduler, epochs = cfg.optimizer.to_dict(), cfg.scheduler.to_dict(), cfg.trainer.max_epochs
    rehearse(optimizer, scheduler, steps, epochs)
    clip = cfg.trainer.model_dump(include={"gradient_clip_val", "gradient_clip_algorithm"})
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    return SlabClassifier(
        cfg.data.batch_size,
        clip if cfg.trainer.gradient_clip_val else None,
        log_steps=cfg.trainer.log_every_n_steps is not None,
        model=cfg.model.to_dict(),
        optimizer=lambda parameters: build_optimizer(optimizer, parameters),
        scheduler=lambda built: build_scheduler(scheduler, built, steps, epochs),
        label_smoothing=cfg.label_smoothing,
        teacher=teacher,
        classes=data.dataset.classes,
        class_weights=_balance(data) if cfg.class_weights else None,
        reading=cfg.data.reading,
    )


def _balance(data: MNISTDataModule) -> list[float]:
    """Return a weight for each class, inverse to its number of training images; their mean over the images is 1."""
    assert data.dataset is not None
    counts = data.train.labels.bincount(minlength=len(data.dataset.classes)).tolist()
    return [sum(counts) / (len(counts) * count) if count else 0.0 for count in counts]
