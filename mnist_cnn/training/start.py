"""Train in a run directory: start, resume, or do nothing if the run is complete."""

import logging
import os
from contextlib import nullcontext
from typing import Any

from mnist_cnn.cli import forget_stale_ranks
from mnist_cnn.errors import RunError
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import standing_of
from mnist_cnn.schema import Settings
from mnist_cnn.training.options import Options

log = logging.getLogger(__name__)


def train(settings: Settings, run: Run, options: Options = Options()) -> dict[str, Any]:  # noqa: B008 - it is frozen
    """Train and test in the run directory `run`. Returns the result, as in result.json; nothing if training paused.

    With resume=auto a complete run is not trained again, and an interrupted one is resumed.
    Raises InputError, before anything is written, for what cannot be used; RunError for a run that fails.
    """
    forget_stale_ranks()
    alone = settings.trainer.devices == settings.trainer.num_nodes == 1
    try:
        with run.locked() if alone or is_first_process() else nullcontext():
            if run.resume_here(settings.resume) in ("auto", "outdated") and standing_of(run, settings).is_done:
                log.info("%s is already complete; resume=never trains it again", run.path)
                return run.result()
            if options.pause_after is not None and len(run.rows()) >= options.pause_after:  # by another process
                return {}
            from mnist_cnn.training.job import assemble  # imports torch

            return assemble(settings, run, options).fit_and_test()
    except OSError as error:
        saved = "the last checkpoint is intact" if run.last.is_file() else "nothing was saved"
        reason = error.strerror or error
        raise RunError(f"{error.filename or run.path} cannot be read or written: {reason}; {saved}") from error


def summarise(result: dict[str, Any]) -> str:
    """Return a result as one line."""
    validation = f"val/acc {result['val/acc']:.4f}  " if "val/acc" in result else ""
    test = f"test/acc {result['test/acc']:.4f}  test/loss {result['test/loss']:.4f}"
    return f"{result['dataset']}: {validation}{test}  on {result['test_images']:,} test images"


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the first: of Lightning's, torchrun's or SLURM's."""
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0")
    return rank == "0"
