"""A search over hyperparameters: its folder, and the loop that trains its trials.

There is no database: the run directories hold all that is known of the trials. So a killed process leaves nothing to
repair, and several processes share a search by the locks of its runs.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError
from mnist_cnn.files import locked, make_folder, write_atomically
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.runs.standing import explain_differences, standing
from mnist_cnn.schema import Search
from mnist_cnn.searches.proposals import explain_importances, propose
from mnist_cnn.searches.trials import (
    WAIT,
    Step,
    Trial,
    add_trial,
    next_step,
    read_json,
    read_trials,
    rungs,
    status,
    winner,
)
from mnist_cnn.settings import by_key, compose, conf_digest
from mnist_cnn.sweeps.job import attempt
from mnist_cnn.training.start import Options, train

_WAIT = 0.5  # seconds between looks at what other processes do
_LOCK = ".search.lock"  # one process at a time proposes a trial


@dataclass(frozen=True)
class Session:
    """A search, its folder, and the overrides of every trial."""

    search: Search
    folder: Path
    overrides: tuple[str, ...]
    epochs: int

    @property
    def levels(self) -> list[int]:
        """The epochs after which trials are compared."""
        return rungs(self.epochs, self.search.reduction) if self.search.pruner == "halving" else [self.epochs]

    def begin(self) -> None:
        """Write search.json, or compare the search and its trials with what the folder already holds.

        Raises InputError if the folder holds another search, or a trial that was trained with other settings.
        """
        make_folder(self.folder)
        with locked(self.folder / _LOCK):
            self._begin()
        for trial in self.trials():
            trial.run.forget_result()

    def _begin(self) -> None:
        file, conf = self.folder / "search.json", conf_digest(self.overrides)
        now = self.search.model_dump(mode="json", exclude={"n_trials"}) | {"overrides": self.overrides}
        then = read_json(file) if file.exists() else now
        old, new = _flatten(then), _flatten(now)
        for key in {**new, **old}:
            if old.get(key) != new.get(key):
                changed = f"{key} was {old.get(key)}, now it is {new.get(key)}"
                raise InputError(f"{self.folder} holds another search: {changed}: choose another search.dir")
        if then.get("conf_hash") != conf:
            self._check_trials(conf)
            write_atomically(file, json.dumps(now | {"conf_hash": conf}, indent=2).encode())

    def _check_trials(self, conf: str) -> None:
        for trial in self.trials():
            if changed := standing(trial.run, self.command(trial), conf).changed:
                raise InputError(
                    f"{trial.run.path} was trained with {explain_differences(changed)}: "
                    "the trials would not be comparable: set the old value, or another search.dir"
                )

    def run(self) -> Iterator[Trial]:
        """Train trials until the search is complete. Yields each trial after it was trained further, or failed."""
        while step := self._next_step():
            if step.trial and self._train(step.trial, step.until):
                yield next(trial for trial in self.trials() if trial.number == step.trial.number)
            else:
                time.sleep(_WAIT)

    def _next_step(self) -> Step | None:
        """Return what this process does next; a new trial is proposed and written."""
        with locked(self.folder / _LOCK):
            trials = self.trials()
            step = next_step(trials, self.search.n_trials, self.levels, self.search.reduction)
            if step is None or step.trial or step == WAIT:
                return step
            number = min({*range(len(trials) + 1)} - {trial.number for trial in trials})
            params = propose(self.search, self.levels[0], trials, number)
            return Step(add_trial(self.folder, number, params), step.until)

    def trials(self) -> list[Trial]:
        return read_trials(self.folder)

    def status(self, trial: Trial) -> str:
        return status(trial, self.levels)

    def importances(self) -> str:
        return explain_importances(self.search, self.levels[0], self.trials())

    def winner(self) -> Trial | None:
        return winner(self.trials(), self.epochs)

    def command(self, trial: Trial) -> list[str]:
        """Return all overrides of a trial, each key once."""
        return trial.command(self.overrides)

    def test(self, trial: Trial) -> dict[str, Any]:
        """Evaluate the winner on the test images, once."""
        while True:
            try:
                return train(compose(*self.command(trial)), trial.run, Options(self.command(trial), show_bar=False))
            except InUse:  # another process of this search tests it
                time.sleep(_WAIT)

    def _train(self, trial: Trial, until: int) -> bool:
        """Train a trial until that epoch. Returns False if another process trains it."""
        overrides = self.command(trial)
        options = Options(overrides, show_bar=False, pause_after=until)
        with _log_to_file(trial.run):
            return attempt(lambda: train(compose(*overrides), trial.run, options), trial.run, overrides) is not None


def _flatten(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the trials of a search, flat: its own values, and the overrides by key."""
    overrides = by_key(search.get("overrides", []))
    own = {key: value for key, value in search.items() if key not in ("overrides", "conf_hash")}
    return own | {key: value for key, value in overrides.items() if is_decisive(key)}


@contextmanager
def _log_to_file(run: Run) -> Iterator[None]:
    """Within this context, log to the run's train.log."""
    root, handler = logging.getLogger(), logging.FileHandler(run.path / "train.log", delay=True)
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
