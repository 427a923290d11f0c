"""Train the notebook's convnet, then test it: `python -m mnist_cnn.train [group=choice ...] [key=value ...]`.

Everything is set in conf/. torch is imported late, so that --help and wrong values answer at once.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_cnn.cli import run_command
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.hydra_app import in_sweep, is_first_process, reported, run_hydra
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import CONF, load

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train one job of the command line."""
    run = Run(Path(HydraConfig.get().runtime.output_dir).resolve())
    with reported(run):
        settings = load(cfg)
        if in_sweep() and settings.trainer.devices != 1:  # the processes that Lightning starts would sweep again
            raise InputError(f"trainer.devices={settings.trainer.devices} cannot be used in a sweep: give 1")
        overrides = list(HydraConfig.get().overrides.task)
        result = train(settings, run, overrides, on_start=lambda: None if in_sweep() else run.link_latest())
    if is_first_process():
        log.info("%s  %s", summarise(result), os.path.relpath(run.path))
    return result


def train(
    settings: Settings, run: Run, overrides: Sequence[str] = (), on_start: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Train and test in the run directory `run`. Returns the result, as in result.json.

    With resume=auto a complete run is not trained again, and an interrupted one is resumed.
    Raises InputError, before anything is written, for what cannot be used; RunError for a run that fails.
    """
    try:
        with run.locked() if is_first_process() else nullcontext():
            if _is_done(settings, run):
                log.info("%s is already complete; resume=never trains it again", run.path)
                return run.result()
            from mnist_cnn.training.job import assemble

            return assemble(settings, run, overrides, on_start).fit_and_test()
    except OSError as error:
        saved = "the last checkpoint is intact" if run.last.is_file() else "nothing was saved"
        reason = error.strerror or error
        raise RunError(f"{error.filename or run.path} cannot be read or written: {reason}; {saved}") from error


def _is_done(settings: Settings, run: Run) -> bool:
    """Whether the run is complete, and on the data that was asked for: the sample may have stood in for MNIST."""
    on_sample = run.result().get("dataset") == "mnist-sample"
    may_be_sample = "sample" in (settings.data.name, settings.data.fallback)
    return settings.resume == "auto" and run.is_complete(settings.digest()) and (may_be_sample or not on_sample)


def summarise(result: dict[str, Any]) -> str:
    """Return a result as one line."""
    validation = f"val/acc {result['val/acc']:.4f}  " if "val/acc" in result else ""
    test = f"test/acc {result['test/acc']:.4f}  test/loss {result['test/loss']:.4f}"
    return f"{result['dataset']}: {validation}{test}  on {result['test_images']:,} test images"


def command() -> None:
    """Run main, with Hydra's errors as one line."""
    run_hydra(main)


if __name__ == "__main__":
    run_command(command)
