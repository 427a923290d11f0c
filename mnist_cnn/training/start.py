"""Train in a run directory: start, resume, or do nothing if the run is complete."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from mnist_cnn.cli import forget_stale_ranks
from mnist_cnn.errors import RunError
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import forget_pictures, standing_of
from mnist_cnn.schema import Settings
from mnist_cnn.terminal import waiting

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Launch options; none affects the weights."""

    overrides: Sequence[str] = ()  # stored in the run directory and in its result
    on_start: Callable[[], None] = lambda: None  # called when training starts
    cores: int | None = None  # the number of CPU threads for threads=null; None: all cores of this process
    show_bar: bool = True  # in a terminal, for each epoch
    pause_after: int | None = None  # epochs; then there is no test and no result, and the next call resumes


def train(settings: Settings, run: Run, options: Options = Options()) -> dict[str, Any]:
    """Train and test in a run directory. Returns the content of result.json, or an empty dictionary if it paused.

    With resume=auto a complete run is not trained again, and an interrupted one is resumed.
    Raises InputError for wrong settings, before anything is written, and RunError if the training fails.
    """
    forget_stale_ranks()
    forget_pictures()
    alone = settings.trainer.devices == settings.trainer.num_nodes == 1
    try:
        with run.locked() if alone or is_first_process() else nullcontext():
            if run.resume_here(settings.resume) in ("auto", "outdated") and standing_of(run, settings).is_done:
                log.info("%s is already complete; resume=never trains it again", run.path)
                return run.result()
            if options.pause_after is not None and len(run.rows()) >= options.pause_after:  # by another process
                return {}
            with waiting("loading PyTorch") if options.show_bar and is_first_process() else nullcontext():
                from mnist_cnn.training.assemble import assemble

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
    """Whether this is the first or only process of a training started by Lightning, torchrun or SLURM."""
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0")
    return rank == "0"
