"""Train the notebook's convnet, then test it: `python -m mnist_cnn.train [group=choice ...] [key=value ...]`.

With -m or --multirun: sweep over lists of values. Run the same command again to resume. --plan only lists the jobs.

All settings are in conf/. torch is imported late, so that --help and errors in settings are immediate.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_cnn.cli import check_options, run_command
from mnist_cnn.errors import InputError
from mnist_cnn.files import relative
from mnist_cnn.hydra_app import report_failure, run_hydra
from mnist_cnn.reports.report import check_packages, report_or_hint
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.latest import check_not_latest, link_latest
from mnist_cnn.searchpath import job_overrides, with_searchpath
from mnist_cnn.settings import CONF, load, quote_paths
from mnist_cnn.sweeps.plan import is_sweep
from mnist_cnn.sweeps.sweep import sweep
from mnist_cnn.training.start import Options, is_first_process, summarise, train

log = logging.getLogger(__name__)

_OPTIONS = "plan help hydra-help version cfg resolve package run multirun shell-completion config-path config-name"
_OPTIONS += " config-dir experimental-rerun info"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train once, with the configuration that Hydra has composed."""
    run = Run(Path(HydraConfig.get().runtime.output_dir).resolve())
    with report_failure(run):
        check_not_latest(run.path, "hydra.run.dir")
        settings = load(cfg)
        if settings.report:
            check_packages()
        result = train(settings, run, Options(job_overrides(), on_start=lambda: link_latest(run.path)))
        if is_first_process():
            log.info("%s  %s", summarise(result), relative(run.path))
            log.info("%s", report_or_hint(run.path, settings.report))
    return result


def command() -> int:
    """Train once; or sweep, with --multirun or an experiment that lists values to sweep."""
    sys.argv[1:] = with_searchpath(sys.argv[1:])  # Hydra reads them, and so do processes that Lightning starts
    arguments = [each for each in sys.argv[1:] if each not in ("-m", "--multirun")]
    multirun = len(arguments) < len(sys.argv[1:])
    if "--plan" in arguments and not multirun:
        raise InputError("--plan lists the jobs of a sweep: add -m")
    flags = [each for each in arguments if each.startswith("-") and each != "--plan"]
    if multirun or (not flags and is_sweep(arguments)):
        return sweep(arguments)
    check_options(flags, [f"--{name}" for name in _OPTIONS.split()])
    sys.argv[1:] = quote_paths(sys.argv[1:])
    run_hydra(main)
    return 0


if __name__ == "__main__":
    run_command(command)
