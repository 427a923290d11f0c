"""Plan a sweep: its folder, and a job for each combination of values, each in a folder of its own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import Standing, forget_pictures, standing
from mnist_cnn.searchpath import searchpath
from mnist_cnn.settings import CONF, conf_digest, explain_errors, quote, quote_paths
from mnist_cnn.sweeps.job import name_launcher

_LONGEST_NAME = 100  # bytes; a file system allows 255
_HYDRA = ("hydra/job_logging=file", "hydra/hydra_logging=quiet", "hydra.job.name=train", "hydra.mode=MULTIRUN")


@dataclass(frozen=True)
class Job:
    """One combination of values: the overrides, and the run directory."""

    name: str
    overrides: tuple[str, ...]
    run: Run

    @property
    def all_overrides(self) -> list[str]:
        """The overrides, with those that name the directory."""
        return [
            *self.overrides,
            f"hydra.sweep.dir={quote(self.run.path.parent)}",
            f"hydra.sweep.subdir={quote(self.name)}",
        ]


@dataclass(frozen=True)
class Plan:
    """A sweep: its folder and its jobs, and what Hydra needs to launch them."""

    folder: Path
    jobs: tuple[Job, ...]
    cfg: DictConfig
    loader: ConfigLoader
    conf: str
    repeated: int  # combinations that were given before

    @property
    def launcher(self) -> str:
        return name_launcher(self.cfg.hydra.launcher)

    @property
    def is_parallel(self) -> bool:
        """Whether the launcher runs several jobs at once."""
        return self.launcher != "BasicLauncher"

    def standing(self, job: Job) -> Standing:
        """Return where a job stands: complete, outdated, failed, running, interrupted or waiting."""
        return standing(job.run, job.overrides, self.conf)

    def is_to_train(self, job: Job) -> bool:
        """Whether a job must be trained: it is not done, or resume=never or outdated discards its result."""
        standing = self.standing(job)
        kept = standing.is_done or (standing.status == "outdated" and self.cfg.resume != "outdated")
        return self.cfg.resume == "never" or not kept


def plan(arguments: Sequence[str]) -> Plan:
    """Plan the sweep that overrides describe, such as `model.padding=valid,same seed=range(3)`.

    Its folder is named by what all jobs share, each job's by what differs, so that the same command finds the same
    folders. hydra.sweep.dir replaces the first.
    Raises InputError if an override is wrong, or if the launcher is not installed.
    """
    forget_pictures()
    arguments = quote_paths(arguments, sweep=True)
    cfg, loader, given = _parse(arguments)
    task = [each for each in given if not _is_hydras_own(each)]
    shared = [each for each in task if not each.is_sweep_override()]
    if any(each.key_or_group == "experiment" and is_sweep(_values(each)) for each in task if each not in shared):
        raise InputError("an experiment that lists values to sweep cannot itself be swept: choose one experiment")
    folder = Path(cfg.hydra.sweep.dir)
    if not any(each.key_or_group == "hydra.sweep.dir" for each in given):
        own = {"data.dir"} if any(each.input_line == "data=folder" for each in task) else set[str]()
        named = [each for each in shared if is_decisive(each.key_or_group) or each.key_or_group in own]
        decisive = sorted(str(each.input_line) for each in named)
        folder /= folder_name(decisive) or "notebook"
    OmegaConf.update(cfg, "hydra.sweep.dir", str(folder.resolve()))
    jobs, combinations = dict[str, Job](), list(product(*[_values(each) for each in task]))
    for values in combinations:
        swept = [value for value, each in zip(values, task, strict=True) if each not in shared]
        name = folder_name(sorted(swept)) or "job"
        jobs[name] = Job(name, (*searchpath(arguments), *values), Run(folder.resolve() / name))  # seed=0,0 is one job
    return Plan(folder, tuple(jobs.values()), cfg, loader, conf_digest(arguments), len(combinations) - len(jobs))


def _parse(arguments: Sequence[str]) -> tuple[DictConfig, ConfigLoader, list[Override]]:
    """Compose what a launcher needs. Returns it with all overrides, to which an experiment may add some."""
    with explain_errors(), hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
        loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*arguments])
        _check_hydras_own(overrides)
        groups = [
            str(each.input_line)
            for each in overrides
            if not each.is_sweep_override() and ("." not in each.key_or_group or each.key_or_group.startswith("hydra."))
        ]
        cfg = hydra.compose("train", [*_HYDRA, *groups], return_hydra_config=True)
        by_experiment = [f"{key}={values}" for key, values in (cfg.hydra.sweeper.params or {}).items()]
        given = {each.get_key_element(): each for each in parser.parse_overrides([*by_experiment, *arguments])}
    return cfg, loader, list(given.values())


def is_sweep(overrides: Sequence[str]) -> bool:
    """Whether an experiment among the overrides lists values to sweep."""
    experiments = [each for each in overrides if each.startswith(("experiment=", "+experiment="))]
    if not experiments:
        return False
    folders = searchpath(overrides)
    try:
        with explain_errors(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            found = [hydra.compose("train", [*folders, each], return_hydra_config=True) for each in experiments]
        return any(cfg.hydra.sweeper.params for cfg in found)
    except InputError:
        return False  # composing all overrides will report it


def _values(override: Override) -> list[str]:
    """Return the override once for each of its values."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise InputError(f"{override.input_line} is not a list of values: write {override.key_or_group}=a,b")
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise InputError(f"{override.input_line} has no values")
    return values


def folder_name(overrides: Iterable[str]) -> str:
    """Join overrides to a folder's name that every system allows; a digest stands for what is replaced or cut off."""
    text = ",".join(overrides)
    allowed = re.sub(r"[^\w.,=+~@()\[\]{}-]", "_", text).encode()
    name = allowed[:_LONGEST_NAME].decode(errors="ignore").rstrip(".")
    return name if name == text else f"{name}-{sha256(text.encode()).hexdigest()[:8]}"


def _is_hydras_own(override: Override) -> bool:
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _check_hydras_own(overrides: Iterable[Override]) -> None:
    """Raise InputError if an override would change the jobs' folders."""
    for override in filter(_is_hydras_own, overrides):
        key, line = override.key_or_group, override.input_line
        if override.is_sweep_override():
            raise InputError(f"{line} cannot be swept: choose one value")
        if (key, override.value()) == ("hydra.sweep.dir", ""):
            raise InputError("hydra.sweep.dir is empty: name a folder")
        if key == "hydra.sweep.subdir" or key.startswith("hydra.sweeper."):
            raise InputError(f"{line} is not supported: a sweep is KEY=a,b, and names its jobs' folders itself")
