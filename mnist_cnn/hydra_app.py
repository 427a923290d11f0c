"""How a Hydra application of ours starts and ends: Hydra's errors in one line, failed and interrupted jobs."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mnist_cnn.cli import command_line, fail
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.files import relative
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.settings import explain_hydra, quote
from mnist_cnn.signals import Stopped
from mnist_cnn.training.start import is_first_process

log = logging.getLogger(__name__)

_BUG = "This is a bug in mnist_cnn. Please report it."  # a note that tells a job's errors from Hydra's own


def run_hydra(main: Callable[[], Any]) -> None:
    """Run a function decorated with hydra.main; what Hydra says of the command line becomes an InputError."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting with 1
    try:
        main()
    except (InputError, RunError):
        raise
    except Exception as error:
        if _BUG in getattr(error, "__notes__", ()):
            raise
        raise InputError(explain_hydra(error)) from error
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


@contextmanager
def reported(run: Run) -> Iterator[None]:
    """Report how the job within this context failed: one line, the exit status, and how to resume."""
    try:
        yield
    except (InputError, RunError) as error:
        if is_first_process() and not isinstance(error, InUse):
            run.remove_if_unused()
        fail(error, status=2 if isinstance(error, InputError) else 1)
    except Stopped:
        if is_first_process() and run.last.is_file():
            log.info("stopped; to resume: %s", _resume_command(run))
        elif is_first_process():
            run.remove_if_unused()
        raise
    except Exception as error:
        error.add_note(_BUG)
        raise


def _resume_command(run: Run) -> str:
    """Return this command line with what makes it resume in the same directory."""
    given = [each for each in sys.argv[1:] if not each.startswith(("hydra.run.dir=", "resume="))]
    where = Path(relative(run.path, HydraConfig.get().runtime.cwd)).as_posix()
    return command_line("mnist_cnn.train", *given, f"hydra.run.dir={quote(where)}")
