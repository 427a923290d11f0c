"""Where a run stands, compared with what its overrides mean today: the one rule for "is it done?"."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mnist_cnn.differences import Differences, decisive, differences, outdated_by
from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Data, Reading, Settings
from mnist_cnn.settings import by_key, compose, conf_digest, without

_MEASURED = {"teacher.weights", "start_from.weights"}  # in a run's settings, but in no configuration
_SAMPLE = "mnist-sample"


class Standing(NamedTuple):
    """A run's status, the settings that it was trained with, and for an outdated one which of them differ today."""

    status: str
    settings: Mapping[str, Any]  # empty if a damaged result does not say
    changed: Differences | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to train."""
        return self.status == "complete" and bool(self.settings)


def standing(run: Run, overrides: Sequence[str], conf: str | None = None) -> Standing:
    """Compare a run with what overrides mean in today's conf/, whose digest may be given.

    A complete or interrupted run of other settings is outdated. A run without overrides, as a script trains it, is not
    compared, nor is one whose overrides cannot be composed.
    """
    found, result, conf = Standing(run.status(), run.settings()), run.result(), conf or conf_digest(overrides)
    same = not overrides or (result.get("overrides"), result.get("conf_hash")) == ([*overrides], conf)
    same = same and found.settings.get("data.name") != "folder"  # its pictures may have changed
    if same or not found.settings or not (found.status == "complete" or run.last.is_file()):
        return found
    try:
        return standing_of(run, compose_once(overrides, conf))
    except InputError:
        return found


def standing_of(run: Run, settings: Settings) -> Standing:
    """Compare a run with settings."""
    status, then, now = run.status(), run.settings(), decisive(settings.to_dict())
    compared = {key: value for key, value in then.items() if key not in _MEASURED}
    if not then or not (status == "complete" or run.last.is_file()):
        return Standing(status, then)
    changed = outdated_by(compared, now)
    dataset = run.result().get("dataset")
    if dataset == _SAMPLE and "sample" not in (settings.data.name, settings.data.fallback):
        changed["dataset"] = (_SAMPLE, settings.data.name)  # the sample has stood in for MNIST
    if status == "complete" and settings.data.name == "folder" and not changed:
        changed |= _compare_pictures(str(dataset), settings.data)
    if changed:
        return Standing("outdated", then, changed)
    more_epochs = status == "complete" and differences(compared, now)
    return Standing("interrupted" if more_epochs else status, then)


def _compare_pictures(then: str, data: Data) -> Differences:
    """Compare the name of the run's data set, which has a digest of the pictures, with that of today's pictures."""
    with suppress(InputError):  # pictures that are gone do not outdate what was trained on them
        now = _read_name(data.dir, data.reading, data.test_size)
        return {} if now == then else {"dataset": (then, now)}
    return {}


@lru_cache
def _read_name(folder: str, reading: Reading, test_size: float) -> str:
    from mnist_cnn.data.own import read_own  # imports torch

    return read_own(Path(folder), reading, test_size).name


def forget_pictures() -> None:
    """Have the next comparison read the pictures again: otherwise they are read once per process."""
    _read_name.cache_clear()


def compose_once(overrides: Sequence[str], conf: str) -> Settings:
    """Compose overrides, in 0.06 s; those that differ only in the seed are composed once."""
    seed = by_key(overrides).get("seed", "")
    if not (seed.isdecimal() and len(seed) < 10):
        return _compose(tuple(overrides), conf)
    return _compose(tuple(without(overrides, "seed")), conf).model_copy(update={"seed": int(seed)})


@lru_cache(maxsize=1000)
def _compose(overrides: tuple[str, ...], conf: str) -> Settings:
    return compose(*overrides)


def explain_differences(changed: Mapping[Any, tuple[Any, Any]]) -> str:
    """Write what differs, the first three in full."""
    pairs = [
        f"{abbreviate(key)}={abbreviate(then)}, now it is {abbreviate(now)}" for key, (then, now) in changed.items()
    ]
    return "; ".join(pairs[:3]) + (f"; and {len(pairs) - 3} more" if len(pairs) > 3 else "")
