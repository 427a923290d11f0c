"""The run directory: the one interface between training and everything after it.

checkpoints/last.ckpt   the newest complete state
checkpoints/best.ckpt   with a validation split: the state of the epoch with the best val/acc
metrics.csv             a row per epoch
result.json             written last: what was trained, and how well it does
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.files import link_atomically, locked, relative, remove, sync_path, write_atomically

_LOCK_SECONDS = 0.5  # to wait for the lock: `is_in_use` holds it for a moment


class InUse(InputError):
    """Another process trains in this run directory."""


@dataclass(frozen=True)
class Run:
    """A run directory, which need not exist yet."""

    path: Path

    @property
    def last(self) -> Path:
        """The newest complete checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the best val/acc."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def metrics(self) -> Path:
        """The table with a row per epoch."""
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

    def overrides(self) -> list[str]:
        """Return the overrides with which it was started; none if it was not."""
        if isinstance(overrides := self.result().get("overrides"), list):
            return [str(each) for each in overrides]
        try:
            overrides = OmegaConf.to_container(OmegaConf.load(self.path / ".hydra" / "overrides.yaml"))
        except Exception:  # noqa: BLE001 - Hydra does not write it atomically; YAML and OmegaConf have many errors
            return []
        return [str(each) for each in overrides] if isinstance(overrides, list) else []

    def rows(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv: one for each epoch that was trained."""
        try:
            return list(csv.DictReader(self.metrics.read_text().splitlines()))
        except OSError:
            return []

    def curves(self) -> dict[str, list[float]]:
        """Return the columns of metrics.csv, with a value for each epoch; empty if there are none, or no numbers."""
        rows = self.rows()
        try:
            return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
        except (TypeError, ValueError):
            return {}

    def settings(self) -> dict[str, Any]:
        """Return the decisive settings that it was begun with, flat; none if it was not begun."""
        settings = self.result().get("settings")  # a version before wrote none there
        return settings if isinstance(settings, dict) else decisive(self.config())

    def config(self) -> dict[str, Any]:
        """Return the configuration that it was begun with, nested as in conf/; empty if it was not begun."""
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.path / ".hydra" / "config.yaml"))
        except Exception:  # noqa: BLE001 - OmegaConf and YAML have many for a damaged file
            return {}
        return {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}

    def checkpoint_to_resume(self, resume: str) -> Path | None:
        """Return the checkpoint that resume=auto, outdated, never or a path stands for, if there is one.

        A run that began with that path goes on from its own. Raises InputError if a path leads to no checkpoint.
        """
        resume = self.resume_here(resume)
        if resume == "never":
            return None
        if resume in ("auto", "outdated"):
            return self.last if self.last.is_file() else None
        return checkpoint_file(Path(resume).resolve())  # outputs/latest is about to point to this run

    def resume_here(self, resume: str) -> str:
        """Return resume, or auto if this run began with that path, and has saved since."""
        began = self.last.is_file() and resume == self.config().get("resume")
        return "auto" if began and resume not in ("never", "outdated") else resume

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this directory.

        Raises InUse if one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.path / ".lock", _LOCK_SECONDS):
                (self.path / ".lock").touch()  # for `begun_at`
                yield
        except Timeout as error:
            raise InUse(f"{self.path} is in use by another process: give another hydra.run.dir") from error

    def begun_at(self) -> float:
        """Return when a process last began to train here, in seconds since the epoch; 0 if none did."""
        with suppress(OSError):
            return (self.path / ".lock").stat().st_mtime
        return 0.0

    def is_in_use(self) -> bool:
        """Whether a process trains in this directory now."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with FileLock(self.path / ".lock", timeout=0):
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # a disk that can only be read, or one without locks
            return False

    def begin(self, config: str, overrides: str, resume_from: Path | None = None) -> None:
        """Start a training: what an earlier one left must not pass for its result. Writes .hydra/."""
        sync_path(self.path)  # Hydra has made it
        remove(self.path / "result.json")
        if resume_from != self.last:  # it goes next: without it the run starts over
            for file in (self.last, *self.last.parent.glob("*.ckpt"), self.metrics):
                if file != resume_from:
                    remove(file)
            if resume_from and run_of(resume_from).best.is_file():  # it may stay the best
                write_atomically(self.best, run_of(resume_from).best.read_bytes())
        write_atomically(self.path / ".hydra" / "config.yaml", config.encode())
        write_atomically(self.path / ".hydra" / "overrides.yaml", overrides.encode())

    def has_failed(self) -> bool:
        """Whether the last attempt at this run failed."""
        return self.result().get("status") == "failed"

    def fail(self, error: str, overrides: Sequence[str]) -> None:
        """Write why this run failed into result.json, unless a complete run's is there, or nothing can be written."""
        with suppress(InUse, OSError), self.locked():
            if self.result().get("status") != "complete":
                self.finish({"status": "failed", "error": error, "overrides": [*overrides]})

    def forget_result(self, even_if_complete: bool = False) -> None:
        """Remove the result of a failed run, which is to be tried again."""
        if even_if_complete or self.result().get("status") != "complete":
            with suppress(OSError):  # a file in the place of the folder, or a disk that can only be read
                remove(self.path / "result.json")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json: from here on the run is complete."""
        write_atomically(self.path / "result.json", json.dumps(result, indent=2, allow_nan=False).encode() + b"\n")

    def remove_if_unused(self) -> None:
        """Remove the directory if there is nothing in it but a lock and a log, and parents that are then empty."""
        unused = {".lock", "train.log"}
        if self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= unused:
            with suppress(OSError):  # Windows keeps a log that is open; the current folder, or one that is not empty
                for name in unused:
                    (self.path / name).unlink(missing_ok=True)
                os.removedirs(relative(self.path))

    def check_not_latest(self, outputs: Path = Path("outputs")) -> None:
        """Raise InputError if this is a folder in the place of the link outputs/latest, which would stay there."""
        if self.path == outputs.resolve() / "latest":
            raise InputError(f"{outputs / 'latest'} is the link to the newest run: give another hydra.run.dir")

    def link_latest(self, outputs: Path = Path("outputs")) -> None:
        """Point outputs/latest to this run, if it lies under outputs."""
        outputs, path = outputs.resolve(), self.path.resolve()
        if not path.is_relative_to(outputs):
            return
        latest, target = outputs / "latest", path.relative_to(outputs)
        with suppress(OSError):  # there is a folder of that name
            try:
                link_atomically(latest, target)
            except OSError:  # Windows allows symbolic links to few: a file names the run, and `follow` reads it
                write_atomically(latest, target.as_posix().encode())


def follow(path: Path) -> Path:
    """Return the run directory that a file outputs/latest names, where it is no symbolic link; else the path itself."""
    return path.parent / path.read_text("utf-8") if path.name == "latest" and path.is_file() else path


def checkpoint_file(run_or_file: str | os.PathLike[str]) -> Path:
    """Return the checkpoint that a run directory or a file name stands for.

    Raises InputError if there is none.
    """
    path = follow(Path(run_or_file))
    path = Run(path).last if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: give a .ckpt file, or a run directory after its first epoch")
    return path


def run_of(checkpoint: Path) -> Run:
    """Return the run directory of a checkpoint file."""
    return Run(checkpoint.resolve().parent.parent)
