"""Run train's Hydra application: errors in one line, no empty folders, and the command that resumes a stopped run."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mnist_cnn.cli import command_line, fail
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.files import relative
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.settings import explain_errors, quote, without
from mnist_cnn.signals import Stopped
from mnist_cnn.training.start import is_first_process

log = logging.getLogger(__name__)


def run_hydra(main: Callable[[], Any]) -> None:
    """Run a function decorated with hydra.main. What Hydra raises about the command line becomes an InputError."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting with 1
    try:
        with explain_errors():
            main()
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


@contextmanager
def report_failure(run: Run) -> Iterator[None]:
    """Within this context a failure ends the process: Hydra would print more, and `run_hydra` take it for Hydra's."""
    try:
        yield
    except (InputError, RunError) as error:
        if is_first_process() and not isinstance(error, InUse):
            _remove_if_unused(run.path)
        fail(error, error.status)
    except Stopped:
        if is_first_process():
            _remove_if_unused(run.path)
            if run.last.is_file():
                log.info("stopped; to resume: %s", _resume_command(run))
        raise
    except Exception:  # noqa: BLE001 - a bug of ours
        traceback.print_exc()
        sys.exit(1)


def _resume_command(run: Run) -> str:
    """Return this command line with what makes it resume in the same directory."""
    given = without(sys.argv[1:], "hydra.run.dir", "resume")
    where = Path(relative(run.path, HydraConfig.get().runtime.cwd)).as_posix()
    return command_line("mnist_cnn.train", *given, f"hydra.run.dir={quote(where)}")


def _remove_if_unused(folder: Path) -> None:
    """Remove a run directory that holds nothing but a lock and a log; then its parents, if they are empty."""
    unused = {".lock", "train.log"}
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= unused:
        with suppress(OSError):  # Windows keeps an open log; a folder may be the current one, or not empty
            for name in unused:
                (folder / name).unlink(missing_ok=True)
            os.removedirs(relative(folder))
