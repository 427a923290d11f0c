"""A search over hyperparameters: its folder, and the loop that trains its trials.

There is no database. What is known of a trial is in its run directory: a killed process leaves nothing to repair, and
several processes share a search by the locks of the runs.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from mnist_cnn.differences import is_decisive
from mnist_cnn.errors import InputError
from mnist_cnn.files import locked, make_folder, write_atomically
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.runs.standing import explain_differences, standing
from mnist_cnn.schema import Search
from mnist_cnn.searches.proposals import Proposals
from mnist_cnn.searches.trials import WAIT, Step, Trial, add_trial, next_step, read_json, read_trials, rungs, winner
from mnist_cnn.settings import compose, conf_digest
from mnist_cnn.sweeps.job import attempt
from mnist_cnn.training.start import Options, train

_WAIT = 0.5  # seconds between looks at what other processes do


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
        """Write what is searched, or compare it and the trials with what the folder holds.

        Raises InputError if another search is there, or a trial that was trained with other settings than today's.
        """
        file, conf = self.folder / "search.json", conf_digest(self.overrides)
        now = {**self.search.model_dump(exclude={"n_trials"}), "overrides": _decisive(self.overrides)}
        make_folder(self.folder)
        with self.locked():
            then = read_json(file) if file.exists() else now
            then["overrides"] = _decisive(then.get("overrides", []))
            old, new = _flatten(then), _flatten(json.loads(json.dumps(now)))
            if changed := [key for key in {**new, **old} if old.get(key) != new.get(key) and key != "conf_hash"]:
                raise InputError(
                    f"{self.folder} holds another search: {changed[0]} was {old.get(changed[0])}, now it is "
                    f"{new.get(changed[0])}: give another search.dir"
                )
            if then.get("conf_hash") != conf:
                self._check_trials(conf)
                write_atomically(file, json.dumps({**now, "conf_hash": conf}, indent=2).encode())
        for trial in self.trials():
            trial.run.forget_result()

    def _check_trials(self, conf: str) -> None:
        for trial in self.trials():
            if changed := standing(trial.run, self.command(trial), conf).changed:
                raise InputError(
                    f"{trial.run.path} was trained with {explain_differences(changed)}: "
                    "the trials would not be comparable: give the old value, or another search.dir"
                )

    def run(self) -> Iterator[Trial]:
        """Train trials until the search is complete. Yields each that was trained a step further, or failed."""
        while True:
            with self.locked():
                trials = self.trials()
                step = next_step(trials, self.search.n_trials, self.levels, self.search.reduction)
                if step and step != WAIT and step.trial is None:
                    number = next(number for number in count() if number not in {trial.number for trial in trials})
                    step = Step(add_trial(self.folder, number, self.proposals().propose(trials, number)), step.until)
            if step is None:
                return
            if step.trial and self._train(step.trial, step.until):
                yield next(trial for trial in self.trials() if trial.number == step.trial.number)
            else:
                time.sleep(_WAIT)

    def proposals(self) -> Proposals:
        """Return what proposes values, and says which of them matter."""
        return Proposals(self.search, self.levels[0])

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from proposing a trial."""
        return locked(self.folder / ".search.lock")

    def trials(self) -> list[Trial]:
        """Return all trials, by number."""
        return read_trials(self.folder)

    def status(self, trial: Trial) -> str:
        """Return complete, failed, running, interrupted, or paused (after a rung)."""
        if trial.run.has_failed():
            return "failed"
        if trial.epochs >= self.epochs:
            return "complete"  # though another process may not have closed it yet
        if trial.run.is_in_use():
            return "running"
        return "paused" if trial.epochs in self.levels else "interrupted"

    def winner(self) -> Trial | None:
        """Return the best trial of those trained to the end."""
        return winner(self.trials(), self.epochs)

    def command(self, trial: Trial) -> list[str]:
        """Return all overrides of a trial, each key once: of two the last counts."""
        return list({each.partition("=")[0]: each for each in (*self.overrides, *trial.overrides)}.values())

    def test(self, trial: Trial) -> dict[str, Any]:
        """Evaluate the winner on the test images, once."""
        while True:
            try:
                return train(compose(*self.command(trial)), trial.run, Options(self.command(trial), show_bar=False))
            except InUse:  # another process of this search tests it
                time.sleep(_WAIT)

    def _train(self, trial: Trial, until: int) -> bool:
        """Train a trial. Returns whether that was done, or failed; not if another process trains it."""
        overrides = self.command(trial)
        options = Options(overrides, show_bar=False, pause_after=until)
        with _log_file(trial.run):
            said = attempt(lambda: train(compose(*overrides), trial.run, options), trial.run, overrides)
        return said is not None


def _decisive(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that decide a result, in alphabetical order; of two equal keys the last counts."""
    by_key = {each.partition("=")[0]: each for each in overrides}
    return sorted(each for key, each in by_key.items() if is_decisive(key))


def _flatten(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is searched with the overrides by key."""
    overrides = dict(each.partition("=")[::2] for each in search["overrides"])
    return {key: value for key, value in search.items() if key != "overrides"} | overrides


@contextmanager
def _log_file(run: Run) -> Iterator[None]:
    """Write what is logged to the run's train.log."""
    run.path.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run.path / "train.log", delay=True)
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
