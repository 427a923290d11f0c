"""The trials of a search, and the rule that decides which is trained next, and for how many epochs.

Successive halving (Jamieson and Talwalkar 2016): all trials are trained to the first rung, the best of them to the
next, and so on. A rung is an epoch after which training pauses; a promoted trial resumes, its schedule unchanged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import by_key


@dataclass(frozen=True)
class Trial:
    """One proposal of values: its run directory, and the val/acc after each epoch that it has been trained."""

    number: int
    params: dict[str, Any]
    run: Run
    scores: tuple[float, ...]

    @property
    def epochs(self) -> int:
        return len(self.scores)

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.params.items()]

    def command(self, shared: Sequence[str]) -> list[str]:
        """Return all overrides, with those that the trials of a search share, each key once."""
        return [f"{key}={value}" for key, value in by_key((*shared, *self.overrides)).items()]


@dataclass(frozen=True)
class Step:
    """What to do next: train `trial` (a new one if it is None) until it has been trained `until` epochs."""

    trial: Trial | None
    until: int


WAIT = Step(None, 0)  # until other processes have trained their trials


def rungs(epochs: int, reduction: int) -> list[int]:
    """Return the epochs after which trials are compared: 1, 3, 9, ... with a reduction of 3, and the last."""
    powers = [reduction**power for power in range(epochs.bit_length()) if reduction**power < epochs]
    return [*powers, epochs]


def read_trials(folder: Path) -> list[Trial]:
    """Read the trials of a search, by number."""
    trials = []
    folders = {file.parent for name in ("trial.json", "metrics.csv") for file in folder.glob(f"trial-*/{name}")}
    for run in map(Run, sorted(folders)):
        known = read_json(run.path / "trial.json")
        scores = tuple(float(row["val/acc"]) for row in run.rows())
        trials.append(Trial(known["number"], known["params"], run, scores))
    return trials


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a search. Raises InputError if it is missing or damaged."""
    try:
        known = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        known = None
    if not isinstance(known, dict):
        raise InputError(f"{file} is missing or damaged: remove its folder, or choose another search.dir")
    return known


def add_trial(folder: Path, number: int, params: dict[str, Any]) -> Trial:
    """Write a new trial."""
    run = Run(folder / f"trial-{number:03}")
    write_atomically(run.path / "trial.json", json.dumps({"number": number, "params": params}).encode())
    return Trial(number, params, run, ())


def next_step(trials: Sequence[Trial], n_trials: int, levels: Sequence[int], reduction: int) -> Step | None:
    """Return what this process does next; None if the search is complete."""
    alive = [trial for trial in trials if not trial.run.has_failed()]
    for trial in alive:  # an interrupted one goes first: then the search continues as if it had not been interrupted
        if trial.epochs not in levels and not trial.run.is_in_use():
            return Step(trial, next(level for level in levels if level > trial.epochs))
    if len(trials) < n_trials:
        return Step(None, levels[0])
    if any(trial.epochs < levels[0] for trial in alive):
        return WAIT
    for here, above in pairwise(levels):
        alive = survivors(alive, here, reduction)
        for trial in alive:
            if trial.epochs < above and not trial.run.is_in_use():
                return Step(trial, above)
        if any(trial.epochs < above for trial in alive):
            return WAIT
    return None


def survivors(trials: Sequence[Trial], level: int, reduction: int) -> list[Trial]:
    """Return the trials that are promoted from a rung: the best by val/acc there, of equals the earlier."""
    ranked = sorted(trials, key=lambda trial: (-trial.scores[level - 1], trial.number))
    return ranked[: max(1, len(trials) // reduction)]


def status(trial: Trial, levels: Sequence[int]) -> str:
    """Return the status of its run, except that it is complete after its last epoch, and paused at a rung."""
    found = trial.run.status()
    if trial.epochs >= levels[-1] and found != "failed":
        return "complete"
    return "paused" if found == "interrupted" and trial.epochs in levels else found


def winner(trials: Sequence[Trial], epochs: int) -> Trial | None:
    """Return the trial with the best val/acc of those that were trained to the end; None if there is none."""
    ended = [trial for trial in trials if trial.epochs >= epochs and not trial.run.has_failed()]
    return min(ended, key=lambda trial: (-trial.scores[-1], trial.number), default=None)
