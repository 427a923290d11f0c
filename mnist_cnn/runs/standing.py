"""Where a run stands beside what its overrides ask for today: the one rule for "is it done?"."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mnist_cnn.differences import Differences, decisive, differences, outdated_by
from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.settings import compose, conf_digest

_MEASURED = {"teacher.weights"}  # in a run's settings, but in no configuration


class Standing(NamedTuple):
    """The status of a run, and for an outdated one the settings that differ."""

    status: str
    changed: Differences | None = None


def standing(run: Run, overrides: Sequence[str], conf: str | None = None) -> Standing:
    """Compare a run with what overrides stand for in today's conf/, whose digest may be given.

    A complete or interrupted run of other settings is outdated. Not compared are runs without overrides, as a script
    trains them, and those whose overrides cannot be composed.
    """
    status, result, conf = run.status(), run.result(), conf or conf_digest(overrides)
    same = not overrides or (result.get("overrides"), result.get("conf_hash")) == ([*overrides], conf)
    if same or not (status == "complete" or run.last.is_file()) or not run.settings():
        return Standing(status)
    try:
        return standing_of(run, compose_once(overrides, conf))
    except InputError:
        return Standing(status)


def standing_of(run: Run, settings: Settings) -> Standing:
    """Compare a run with settings."""
    status, now = run.status(), decisive(settings.to_dict())
    then = {key: value for key, value in run.settings().items() if key not in _MEASURED}
    if not then:
        return Standing(status)
    if changed := outdated_by(then, now):
        return Standing("outdated", changed) if status == "complete" or run.last.is_file() else Standing(status)
    return Standing("interrupted" if status == "complete" and differences(then, now) else status)  # more epochs


def compose_once(overrides: Sequence[str], conf: str) -> Settings:
    """Compose overrides, in 0.06 s; those that differ in the seed alone are composed once."""
    seeds = [each for each in overrides if re.fullmatch(r"seed=\d{1,9}", each)]
    composed = _compose(tuple(each for each in overrides if each not in seeds), conf)
    return composed.model_copy(update={"seed": int(seeds[-1].partition("=")[2])}) if seeds else composed


@lru_cache(maxsize=1000)
def _compose(overrides: tuple[str, ...], conf: str) -> Settings:
    return compose(*overrides)


def explain_differences(changed: Mapping[Any, tuple[Any, Any]]) -> str:
    """Write what differs, the first three in full."""
    pairs = [
        f"{abbreviate(key)}={abbreviate(then)}, now it is {abbreviate(now)}" for key, (then, now) in changed.items()
    ]
    return "; ".join(pairs[:3]) + (f"; and {len(pairs) - 3} more" if len(pairs) > 3 else "")
