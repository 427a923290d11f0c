"""Train the notebook's convnet, then test it: `python -m mnist_cnn.train [group=choice ...] [key=value ...]`.

Everything is set in conf/. Measured with the defaults (valid, RMSprop, 5 epochs of 938 steps): see README.md.
"""

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_cnn.errors import InputError, fail, one_of, run_command, whole_number
from mnist_cnn.runs import Run, checkpoint_file, config_hash, decisive

if TYPE_CHECKING:  # torch is imported late: --help and unknown keys must not wait for it
    import lightning.pytorch as pl

    from mnist_cnn.classifier import DigitClassifier
    from mnist_cnn.data import MNISTDataModule
    from mnist_cnn.progress import EpochLog

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # installed, or not
_PACKAGES = ("mnist_cnn", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


@dataclass(frozen=True)
class Job:
    """All that one training needs, built and checked, nothing yet written."""

    config: Mapping[str, Any]
    run: Run
    classifier: "DigitClassifier"
    data: "MNISTDataModule"
    trainer: "pl.Trainer"
    epochs: "EpochLog"
    resume_from: Path | None

    def fit_and_test(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Train, test once, and write result.json. Returns what stands in it."""
        from mnist_cnn.classifier import plain

        self.trainer.fit(self.classifier, self.data, ckpt_path=self.resume_from, weights_only=True)
        (test,) = self.trainer.test(self.classifier, self.data, verbose=False)
        assert self.data.dataset is not None
        result = {
            "status": "complete",
            "dataset": self.data.dataset.name,
            "overrides": list(overrides),
            "config_hash": config_hash(self.config),
            "parameters": sum(weights.numel() for weights in self.classifier.net.parameters()),
            "epochs": len(self.epochs.rows),
            "steps": self.trainer.global_step,
            "seconds_per_epoch": self.epochs.seconds,
            **{name: value for name, value in self.epochs.rows[-1].items() if "/" in name},
            **plain(test),
            "test_images": len(self.data.dataset.test.labels),
            "data_dir": str(self.data.dir.resolve()),
            "device": str(self.trainer.strategy.root_device),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        }
        if self.trainer.is_global_zero:
            self.run.finish(result)
        return result


def train(cfg: DictConfig, run: Run, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train and test what `cfg` says, in the run directory `run`. Returns the result, as in result.json.

    With resume=auto a run that is complete is not trained again, one that was cut goes on.
    Raises InputError, before anything is written, for what cannot be used.
    """
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if config["resume"] == "auto" and run.is_complete(config_hash(config)):
        log.info("%s is complete already; resume=never trains it again", run.path)
        return run.result()
    job = assemble(config, run)
    if job.trainer.is_global_zero:
        run.open()
        if not _multirun():
            run.link_latest()
        log.info("%s", _describe(job))
    return job.fit_and_test(overrides)


def assemble(config: Mapping[str, Any], run: Run) -> Job:
    """Build and check everything, and bring the data, without writing into the run directory.

    Raises InputError for what cannot be used.
    """
    import lightning.pytorch as pl

    from mnist_cnn.checkpoint import check_resumable
    from mnist_cnn.classifier import DigitClassifier
    from mnist_cnn.data import MNISTDataModule
    from mnist_cnn.optim import build_optimizer, build_scheduler
    from mnist_cnn.progress import EpochLog, quiet_lightning

    quiet_lightning()
    seed = whole_number("seed", config["seed"], 0, 2**32 - 1)
    pl.seed_everything(seed, workers=True, verbose=False)
    classifier = DigitClassifier(
        config["model"],
        optimizer=lambda parameters: build_optimizer(config["optimizer"], parameters),
        scheduler=lambda optimizer: build_scheduler(config["scheduler"], optimizer, _steps(data, trainer)),
    )
    build_scheduler(config["scheduler"], build_optimizer(config["optimizer"], classifier.parameters()), steps=100)
    for key in config["data"]:
        one_of("the key data.*", key, signature(MNISTDataModule).parameters)
    data = MNISTDataModule(**config["data"] | {"seed": seed})
    epochs = EpochLog(run.metrics if config["logger"]["csv"] else None)
    trainer = _trainer(config, run, epochs)
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    resume_from = _resume_from(config["resume"], run)
    if resume_from is not None:
        check_resumable(resume_from, decisive(config), data.dataset.name)
    return Job(config, run, classifier, data, trainer, epochs, resume_from)


def _trainer(config: Mapping[str, Any], run: Run, epochs: "EpochLog") -> "pl.Trainer":
    import lightning.pytorch as pl
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import ModelCheckpoint

    from mnist_cnn.checkpoint import AtomicCheckpointIO, SaveLast

    whole_number("trainer.max_epochs", config["trainer"]["max_epochs"], 1)
    every_steps = config["checkpoint"]["every_steps"]
    if every_steps is not None:
        whole_number("checkpoint.every_steps", every_steps, 1)
    callbacks: list[pl.Callback] = [epochs, SaveLast(run.last, every_steps, decisive(config))]
    if config["data"]["val_size"]:
        best = ModelCheckpoint(run.last.parent, "best", monitor="val/acc", mode="max", enable_version_counter=False)
        callbacks.append(best)
    loggers = _loggers(config["logger"]["also"], run)
    try:
        trainer = pl.Trainer(
            **config["trainer"],
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=loggers,
            default_root_dir=run.path,
            limit_val_batches=None if config["data"]["val_size"] else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,  # our batches know their share
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"trainer={config['trainer']} cannot be used here: {error}") from error
    if trainer.num_devices * trainer.num_nodes > 1 and _multirun():
        raise InputError("a sweep runs each job on one device: give trainer.devices=1, or start the jobs one by one")
    return trainer


def _steps(data: "MNISTDataModule", trainer: "pl.Trainer") -> int:
    # Not trainer.estimated_stepping_batches: asked while the optimizer is built, it sets the loaders up before
    # a resumed run has told them where to go on (Lightning 2.6).
    per_epoch = -(-data.steps_per_epoch(trainer.world_size) // trainer.accumulate_grad_batches)
    return per_epoch * (trainer.max_epochs or 1)


def _loggers(also: Mapping[str, Any] | None, run: Run) -> "list[Any] | bool":
    if also is None:
        return False
    options = {key: str(run.path) if value is None else value for key, value in also.items()}
    logger = hydra.utils.get_class(options.pop("_target_"))
    try:
        return [logger(**options)]
    except ModuleNotFoundError as error:
        extra = logger.__name__.lower().removesuffix("logger")
        raise InputError(f"logger={extra} needs a package more: pip install 'mnist_cnn[{extra}]'") from error


def _resume_from(resume: str, run: Run) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        return run.last if run.last.is_file() else None
    if not Path(resume).exists():
        one_of("resume", resume, ("auto", "never", "PATH of a checkpoint or run directory"))
    return checkpoint_file(resume)


def _describe(job: Job) -> str:
    from mnist_cnn.nets import layer_table

    assert job.data.dataset is not None
    images = f"{len(job.data.train.labels):,} training images" + (
        f", {job.data.val_size:,} held out" if job.data.val_size else ""
    )
    resumed = f", resumed from {job.resume_from}" if job.resume_from else ""
    where = job.trainer.strategy.root_device
    return f"{layer_table(job.classifier.net)}\n{job.data.dataset.name}: {images}, on {where}{resumed}"


def _multirun() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train one job of the command line."""
    run = Run(Path(HydraConfig.get().runtime.output_dir).resolve())
    try:
        result = train(cfg, run, HydraConfig.get().overrides.task)
    except InputError as error:
        if _multirun():
            raise  # this job failed; the others go on
        if "LOCAL_RANK" not in os.environ:  # set in the processes that the first one starts
            run.discard_if_empty()
        fail(error)
    if "LOCAL_RANK" not in os.environ or os.environ["LOCAL_RANK"] == "0":
        log.info(
            f"{result['dataset']}: test/acc {result['test/acc']:.4f}  test/loss {result['test/loss']:.4f}  "
            f"on {result['test_images']:,} test images  {os.path.relpath(run.path)}"
        )
    return result


def command() -> None:
    """Run main, with Hydra's errors as one line and exit status 2."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting with 1
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(str(error).split("Config search path")[0]) from error
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


if __name__ == "__main__":
    run_command(command)
