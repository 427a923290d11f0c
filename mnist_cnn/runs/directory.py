"""The run directory: the one interface between training and everything after it.

checkpoints/last.ckpt   the newest complete state
checkpoints/best.ckpt   with a validation split: the state of the epoch with the best val/acc
checkpoints/*.familiarity.npz  of each class, the components of the training images' features; written by predict
metrics.csv             a row per epoch
result.json             written last: what was trained, and its figures
.hydra/                 the configuration and the overrides that training began with

A checkpoint is a dictionary. Lightning writes most of it; in brackets is the class of ours that writes the rest.

state_dict              the weights, net.*, and the sums of the metrics; with ema_decay the averaged weights
hyper_parameters        what the classifier is built from: model, label_smoothing; of your own pictures classes, reading
optimizer_states        one each, as in lr_schedulers; and optimizer_classes: their names [DigitClassifier]
loops                   how many epochs, batches and steps are done, and the loader's position [data.order.EpochOrder]
callbacks               the epochs' rows and seconds [EpochLog], the random state and number of threads [SaveLast], the
                        best val/acc [SaveBest]; with ema_decay the step of the last update
current_model_state     with ema_decay: the weights being trained; and averaging_state: how many updates were averaged
MNISTDataModule         the data set's name, and how pictures were read [MNISTDataModule]; and
                        datamodule_hyper_parameters: its arguments
config                  the settings that decide the result: only with these can the run be resumed [SaveLast]
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout
from omegaconf import OmegaConf

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.files import is_locked, locked, remove, sync_path, write_atomically
from mnist_cnn.runs.latest import follow


class InUse(InputError):
    """Another process trains in this run directory."""


@dataclass(frozen=True)
class Run:
    """A run directory, which need not exist yet."""

    path: Path

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def trained(self) -> Path:
        """The checkpoint with the weights that were tested: the last, or with early stopping the best."""
        return self.best if self.result().get("weights") == "best" else self.last

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    def result(self) -> dict[str, Any]:
        """Return the content of result.json; empty if there is none yet."""
        try:
            result = json.loads((self.path / "result.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return result if isinstance(result, dict) else {}

    def status(self) -> str:
        """Return complete, failed, running, interrupted (it can be resumed), or waiting (nothing was saved yet)."""
        if status := self.result().get("status"):
            return str(status)
        if self.is_in_use():
            return "running"
        return "interrupted" if self.last.is_file() else "waiting"

    def has_failed(self) -> bool:
        """Whether the last attempt at this run failed."""
        return self.result().get("status") == "failed"

    def overrides(self) -> list[str]:
        """Return the overrides that it was started with; empty if it was not started."""
        overrides = self.result().get("overrides") or self._read_yaml("overrides")
        return [str(each) for each in overrides] if isinstance(overrides, list) else []

    def config(self) -> dict[str, Any]:
        """Return the configuration that it was started with, nested as in conf/; empty if it was not started."""
        config = self._read_yaml("config")
        return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}

    def settings(self) -> dict[str, Any]:
        """Return the decisive settings that it was started with, flat; empty if it was not started."""
        settings = self.result().get("settings")
        return settings if isinstance(settings, dict) else decisive(self.config())

    def _read_yaml(self, name: str) -> object:
        try:
            return OmegaConf.to_container(OmegaConf.load(self.path / ".hydra" / f"{name}.yaml"))
        except Exception:  # noqa: BLE001 - YAML and OmegaConf have many errors for a file that is cut or damaged
            return None

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv: one for each epoch that was trained."""
        try:
            return list(csv.DictReader(self.metrics.read_text().splitlines()))
        except OSError:
            return []

    def curves(self) -> dict[str, list[float]]:
        """Return the columns of metrics.csv that have a number for each epoch."""
        rows, columns = self.rows(), dict[str, list[float]]()
        for name in rows[0] if rows else ():
            with suppress(TypeError, ValueError):  # cut off, or a column that did not exist when the run began
                columns[name] = [float(row[name]) for row in rows]
        return columns

    def checkpoint_to_resume(self, resume: str) -> Path | None:
        """Return the checkpoint that `resume` (auto, outdated, never, or a path) stands for, if there is one.

        Raises InputError if a path leads to no checkpoint.
        """
        resume = self.resume_here(resume)
        if resume in ("auto", "outdated", "never"):
            return self.last if resume != "never" and self.last.is_file() else None
        return checkpoint_file(Path(resume).resolve())  # outputs/latest is about to point to this run

    def resume_here(self, resume: str) -> str:
        """Return `resume`, but auto if it is the path that this run began with, and it has its own checkpoint now."""
        began = self.last.is_file() and resume == self.config().get("resume")
        return "auto" if began and resume not in ("never", "outdated") else resume

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this directory. Raises InUse if one does."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.path / ".lock", timeout=0.5):  # another process's `is_in_use` may hold it briefly
                (self.path / ".lock").touch()  # for `was_locked_since`
                yield
        except Timeout as error:
            raise InUse(f"{self.path} is in use by another process: choose another hydra.run.dir") from error

    def is_in_use(self) -> bool:
        """Whether a process trains in this directory now."""
        return is_locked(self.path / ".lock")

    def was_locked_since(self, seconds: float) -> bool:
        """Whether a process has begun to train here since then, in seconds since the epoch."""
        lock = self.path / ".lock"
        return lock.exists() and lock.stat().st_mtime >= seconds

    def begin(self, config: str, overrides: str, resume_from: Path | None = None) -> None:
        """Start a training: write .hydra/, and remove what could be taken for its result."""
        sync_path(self.path)  # Hydra has made it
        remove(self.path / "result.json")
        if resume_from != self.last:  # last.ckpt first: after a crash here the run starts over
            for file in (self.last, *self.last.parent.glob("*.ckpt"), self.metrics):
                if file != resume_from:
                    remove(file)
            if resume_from and run_of(resume_from).best.is_file():  # this run may never beat it
                write_atomically(self.best, run_of(resume_from).best.read_bytes())
        write_atomically(self.path / ".hydra" / "config.yaml", config.encode())
        write_atomically(self.path / ".hydra" / "overrides.yaml", overrides.encode())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json: from here on the run is complete."""
        write_atomically(self.path / "result.json", json.dumps(result, indent=2, allow_nan=False).encode() + b"\n")

    def fail(self, error: str, overrides: Sequence[str]) -> None:
        """Write why this run failed into result.json, unless it is complete, or nothing can be written."""
        with suppress(InUse, OSError), self.locked():
            if self.result().get("status") != "complete":
                self.finish({"status": "failed", "error": error, "overrides": [*overrides]})

    def forget_result(self, even_if_complete: bool = False) -> None:
        """Remove the result of a failed run, or of any run: it is to be tried again."""
        if even_if_complete or self.result().get("status") != "complete":
            with suppress(OSError):  # a read-only disk, or a file in the folder's place
                remove(self.path / "result.json")


def checkpoint_file(run_or_file: str | os.PathLike[str]) -> Path:
    """Return the checkpoint that a run directory or a file name stands for.

    Raises InputError if there is none.
    """
    path = follow(Path(run_or_file))
    path = Run(path).trained if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: give a .ckpt file, or a run directory after its first epoch")
    return path


def run_of(checkpoint: Path) -> Run:
    """Return the run directory of a checkpoint file."""
    return Run(checkpoint.resolve().parent.parent)
