"""The run directory: the one interface between training and everything after it.

checkpoints/last.ckpt   the newest complete state
checkpoints/best.ckpt   with a validation split: the epoch of the best val/acc
metrics.csv             a row per epoch
result.json             written last: what was trained, and how well it does
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_cnn.errors import InputError

# What changes where a run reads and writes, not what it computes.
_NOT_DECISIVE = {"resume", "logger", "checkpoint", "data.dir", "data.mirrors", "data.fallback"}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also when the machine stops in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, hence not synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sweep_temporaries(folder: Path) -> None:
    """Remove what `write_whole` left in a folder when the machine stopped; nobody may be writing there."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


class _Lossy(logging.StreamHandler[Any]):
    """Where what is said cannot be written, that is said once, and the run goes on: it is no part of its result."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # of opening a file
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.filters and not isinstance(error, FileNotFoundError):  # then the folder was given up
            self.addFilter(lambda _: False)
            where = getattr(self, "baseFilename", "standard output")
            print(f"warning: {where} cannot be written: {error.strerror}; going on", file=sys.stderr)


class LogFile(_Lossy, logging.FileHandler):
    """A run's log."""


class Console(_Lossy):
    """What is said to a person."""


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides the result, flat: {"model.padding": "valid", ...}."""
    return {
        f"{group}.{key}" if key else group: value
        for group, values in config.items()
        for key, value in (values.items() if isinstance(values, Mapping) else [("", values)])
        if group not in _NOT_DECISIVE and f"{group}.{key}" not in _NOT_DECISIVE
    }


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash what is decisive in a configuration: 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()[:12]


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
    def metrics(self) -> Path:
        """The table with a row per epoch."""
        return self.path / "metrics.csv"

    def result(self) -> dict[str, Any]:
        """What result.json says; empty where there is none (yet)."""
        try:
            result = json.loads((self.path / "result.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return result if isinstance(result, dict) else {}

    def resume_from(self, resume: object) -> Path | None:
        """Return the checkpoint that resume=auto, never or a path goes on from, if there is one.

        Raises InputError for another value, or a path where there is none.
        """
        if resume == "never":
            return None
        if resume == "auto":
            return self.last if self.last.is_file() else None
        if not isinstance(resume, str):
            raise InputError(f"resume={resume} cannot be used: give auto, never, or the path of a checkpoint or run")
        return checkpoint_file(Path(resume).resolve())  # outputs/latest is about to point to this run

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this directory.

        Raises InUse if one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):  # the system frees it when its holder dies
                yield
        except Timeout as error:
            raise InUse(f"{self.path} is in use by another process: give another hydra.run.dir") from error

    def sweep(self) -> None:
        """Remove what a process that was killed had half written."""
        for folder in (self.path, self.path / ".hydra", self.last.parent):
            sweep_temporaries(folder)

    def open(self, resume_from: Path | None = None) -> None:
        """Begin: from here on the run is not complete, and what an earlier one left does not pass for this one's."""
        (self.path / "result.json").unlink(missing_ok=True)
        if resume_from != self.last:
            for file in (*self.last.parent.glob("*.ckpt"), self.metrics):
                if file != resume_from:
                    file.unlink(missing_ok=True)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json: from here on the run is complete."""
        write_whole(self.path / "result.json", json.dumps(result, indent=2).encode() + b"\n")

    def is_complete(self, config: str) -> bool:
        """Whether this run ended well with the configuration of that hash."""
        result = self.result()
        return result.get("status") == "complete" and result.get("config_hash") == config

    def discard_if_empty(self, outputs: Path = Path("outputs")) -> None:
        """Remove the directory if it holds nothing but a log, and the folders under outputs that it leaves empty."""
        given_up = {"train.log", ".lock"}
        if {entry.name for entry in self.path.iterdir()} <= given_up:
            for name in given_up:
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # not empty: then it stays
                for folder in (self.path, *self.path.parents):
                    if folder != self.path and not folder.is_relative_to(outputs.resolve()):
                        break
                    if folder != Path.cwd():
                        folder.rmdir()

    def link_latest(self, outputs: Path = Path("outputs")) -> None:
        """Point outputs/latest to this run, if it stands under outputs."""
        outputs = outputs.resolve()
        if not self.path.resolve().is_relative_to(outputs):
            return
        temporary = outputs / f".latest.{os.getpid()}"
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.path.resolve().relative_to(outputs), target_is_directory=True)
            temporary.replace(outputs / "latest")
        except OSError:  # no symbolic links here, or a folder of that name: then there is no outputs/latest
            temporary.unlink(missing_ok=True)


def checkpoint_file(run_or_file: str | os.PathLike[str]) -> Path:
    """Return the checkpoint that a run directory or a file name stands for.

    Raises InputError if there is none.
    """
    path = Path(run_or_file)
    try:
        path = Run(path).last if path.is_dir() else path
        there = path.is_file()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not there:
        raise InputError(f"there is no checkpoint {path}: give a .ckpt file, or a run directory after its first epoch")
    return path


def run_of(checkpoint: Path) -> Run:
    """Return the run directory that a checkpoint file stands in."""
    return Run(checkpoint.resolve().parent.parent)
