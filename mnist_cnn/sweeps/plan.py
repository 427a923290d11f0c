"""Plans a sweep: its folder, and one job, with a folder of its own, for each combination of values."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError, missing_package
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import Standing, standing
from mnist_cnn.searchpath import searchpath
from mnist_cnn.settings import CONF, conf_digest, hydra_explained, quote, quote_paths

_LONGEST_NAME = 100  # bytes; a file system allows 255
_HYDRA = ("hydra/job_logging=file", "hydra/hydra_logging=quiet", "hydra.job.name=train", "hydra.mode=MULTIRUN")
_LAUNCHERS = {  # the plugin of each, and the extra that installs it
    "joblib": ("hydra_joblib_launcher", "sweep"),
    "submitit_local": ("hydra_submitit_launcher", "cluster"),
    "submitit_slurm": ("hydra_submitit_launcher", "cluster"),
    "ray": ("hydra_ray_launcher", "cluster"),
}


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
    def is_parallel(self) -> bool:
        """Whether the launcher runs several jobs at once."""
        return not str(self.cfg.hydra.launcher["_target_"]).endswith(".BasicLauncher")

    def standing(self, job: Job) -> Standing:
        """Return where a job stands: complete, outdated, failed, running, interrupted or waiting."""
        return standing(job.run, job.overrides, self.conf)

    def is_to_train(self, job: Job) -> bool:
        """Whether a job is to be trained: it has no result, or one that resume=never or outdated gives up."""
        kept = {"never": (), "outdated": ("complete",)}.get(self.cfg.resume, ("complete", "outdated"))
        return self.standing(job).status not in kept or not job.run.settings()  # of a damaged result


def plan(arguments: Sequence[str]) -> Plan:
    """Plan the sweep that overrides describe, such as `model.padding=valid,same seed=range(3)`.

    Its folder is named by what all jobs share, each job's by what differs, so that the same command finds the same
    folders. hydra.sweep.dir replaces the first.
    Raises InputError for overrides that cannot be used, and for a launcher that is not installed.
    """
    arguments = quote_paths(arguments, sweep=True)
    with hydra_explained(), hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
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
    task = [each for each in given.values() if not _is_hydras_own(each)]
    shared = [each for each in task if not each.is_sweep_override()]
    name = folder_name(sorted(str(each.input_line) for each in shared if is_decisive(each.key_or_group)))
    folder = Path(cfg.hydra.sweep.dir)
    if "hydra.sweep.dir" not in given:
        folder /= name or "notebook"
    OmegaConf.update(cfg, "hydra.sweep.dir", str(folder.resolve()))
    if any(each.key_or_group == "experiment" and is_sweep(_values(each)) for each in task if each not in shared):
        raise InputError("an experiment that lists values to sweep cannot be swept: give one at a time")
    jobs, combinations = dict[str, Job](), list(product(*[_values(each) for each in task]))
    for values in combinations:
        swept = [value for value, each in zip(values, task, strict=True) if each not in shared]
        own = folder_name(sorted(swept)) or "job"
        jobs[own] = Job(own, (*searchpath(arguments), *values), Run(folder.resolve() / own))  # seed=0,0 is one job
    return Plan(folder, tuple(jobs.values()), cfg, loader, conf_digest(arguments), len(combinations) - len(jobs))


def is_sweep(overrides: Sequence[str]) -> bool:
    """Whether an experiment among the overrides lists values to sweep."""
    experiments = [each for each in overrides if each.startswith(("experiment=", "+experiment="))]
    if not experiments:
        return False
    try:
        with hydra_explained(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            found = [
                hydra.compose("train", [*searchpath(overrides), each], return_hydra_config=True) for each in experiments
            ]
        return any(cfg.hydra.sweeper.params for cfg in found)
    except InputError:
        return False  # who composes all of it will say what is wrong


def _values(override: Override) -> list[str]:
    """Return the override once for each of its values."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise InputError(f"{override.input_line} is not a list of values: give {override.key_or_group}=a,b")
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise InputError(f"{override.input_line} has no values")
    return values


def folder_name(overrides: Iterable[str]) -> str:
    """Join overrides to the name of a folder, also on Windows; a digest stands for what no name can hold."""
    text = ",".join(overrides)
    allowed = re.sub(r"[^\w.,=+~@()\[\]{}-]", "_", text).encode()
    name = allowed[:_LONGEST_NAME].decode(errors="ignore").rstrip(".")
    return name if name == text else f"{name}-{sha256(text.encode()).hexdigest()[:8]}"


def _is_hydras_own(override: Override) -> bool:
    return override.key_or_group.startswith(("hydra.", "hydra/"))


def _check_hydras_own(overrides: Iterable[Override]) -> None:
    """Raise InputError for what would change the jobs' folders, and for a launcher whose package is not installed."""
    for override in filter(_is_hydras_own, overrides):
        key, line = override.key_or_group, override.input_line
        if override.is_sweep_override():
            raise InputError(f"{line} cannot be swept: give one value")
        if (key, override.value()) == ("hydra.sweep.dir", ""):
            raise InputError("hydra.sweep.dir is empty: give a folder")
        if key == "hydra.sweep.subdir" or key.startswith("hydra.sweeper."):
            raise InputError(f"{line} cannot be used: a sweep is KEY=a,b, and names the folders of its jobs itself")
        package, extra = _LAUNCHERS.get(str(override.value()), ("", ""))
        if key == "hydra/launcher" and package and find_spec(f"hydra_plugins.{package}") is None:
            raise missing_package(f"{line} needs a package", extra)
