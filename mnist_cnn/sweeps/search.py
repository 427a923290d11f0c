"""A search over hyperparameters: Optuna proposes, successive halving prunes, the run directories remember.

There is no database. What is known of a trial is in its run directory: a killed process leaves nothing to repair, and
several processes share a search by the locks of the runs. Each proposal builds a study from them, seeded by its number.
"""

import json
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mnist_cnn.errors import InputError, RunError
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import InUse, Run
from mnist_cnn.schema import Range, Search
from mnist_cnn.settings import compose
from mnist_cnn.sweeps.trials import WAIT, Step, Trial, add_trial, next_step, read_json, read_trials, rungs, winner
from mnist_cnn.training.start import train

log = logging.getLogger(__name__)

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
        """Write what is searched, or compare it with what the folder holds. Raises InputError if they differ."""
        file = self.folder / "search.json"
        now = {**self.search.model_dump(exclude={"n_trials"}), "overrides": sorted(self.overrides)}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if not file.exists():
                write_atomically(file, json.dumps(now, indent=2).encode())
        then = read_json(file)
        if changed := [key for key in now if then.get(key) != json.loads(json.dumps(now[key]))]:
            raise InputError(
                f"{self.folder} holds another search: {changed[0]} was {then.get(changed[0])}, now it is "
                f"{now[changed[0]]}: give another search.dir"
            )
        for trial in self.trials():
            trial.run.forget_result()

    def run(self) -> Iterator[Trial]:
        """Train trials until the search is complete. Yields each that was trained a step further, or failed."""
        while True:
            with self.locked():
                trials = self.trials()
                step = next_step(trials, self.search.n_trials, self.levels, self.search.reduction)
                if step and step != WAIT and step.trial is None:
                    number = next(number for number in count() if number not in {trial.number for trial in trials})
                    step = Step(add_trial(self.folder, number, self.propose(trials, number)), step.until)
            if step is None:
                return
            if step.trial and self._train(step.trial, step.until):
                yield next(trial for trial in self.trials() if trial.number == step.trial.number)
            else:
                time.sleep(_WAIT)

    def locked(self) -> FileLock:
        """Keep other processes from proposing a trial."""
        return FileLock(self.folder / ".search.lock")

    def propose(self, trials: Sequence[Trial], number: int) -> dict[str, Any]:
        """Return the values of the next trial: a function of the trials before it alone."""
        asked = self.study(trials, number).ask(self.distributions())
        return {key: self._shorten(key, value) for key, value in asked.params.items()}

    def _shorten(self, key: str, value: Any) -> Any:
        """Round a float to four digits: a command is to be read and typed."""
        values = self.search.space[key]
        if isinstance(value, float) and isinstance(values, Range):
            return min(max(float(f"{value:.4g}"), float(values.low)), float(values.high))
        return value

    def study(self, trials: Sequence[Trial], number: int = 0) -> optuna.Study:
        """Return the trials as a study of Optuna's, in memory."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = (self.search.seed * 10_007 + number) % 2**32  # 10,000 trials at most
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        study = optuna.create_study(direction="maximize", sampler=samplers[self.search.sampler](seed=seed))
        for trial in trials:
            known = trial.epochs >= self.levels[0] and not trial.has_failed
            state = TrialState.COMPLETE if known else TrialState.FAIL
            value = trial.scores[self.levels[0] - 1] if state is TrialState.COMPLETE else None  # all have this one
            study.add_trial(
                create_trial(state=state, params=trial.params, distributions=self.distributions(), value=value)
            )
        return study

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the space as Optuna's distributions."""
        return {key: _distribution(values) for key, values in self.search.space.items()}

    def trials(self) -> list[Trial]:
        """Return all trials, by number."""
        return read_trials(self.folder)

    def status(self, trial: Trial) -> str:
        """Return complete, failed, running, interrupted, or paused (after a rung)."""
        if trial.has_failed or trial.run.is_in_use():
            return trial.run.status()
        if trial.epochs >= self.epochs:
            return "complete"
        return "paused" if trial.epochs in self.levels else "interrupted"

    def importances(self) -> str:
        """Return the share of each hyperparameter in the variation of the first rung's val/acc."""
        try:
            with warnings.catch_warnings(action="error"):
                shares = optuna.importance.get_param_importances(self.study(self.trials()))
        except (ValueError, RuntimeError, UserWarning):  # too few trials, or all alike
            return "not known from so few trials"
        return ", ".join(f"{key} {share:.2f}" for key, share in shares.items())

    def winner(self) -> Trial | None:
        """Return the best trial of those trained to the end."""
        return winner(self.trials(), self.epochs)

    def command(self, trial: Trial) -> list[str]:
        """Return all overrides of a trial."""
        return [*self.overrides, *trial.overrides]

    def test(self, trial: Trial) -> dict[str, Any]:
        """Evaluate the test images: once, by the winner."""
        while True:
            try:
                return train(compose(*self.command(trial)), trial.run, self.command(trial), show_bar=False)
            except InUse:  # another process of this search tests it
                time.sleep(_WAIT)

    def _train(self, trial: Trial, until: int) -> bool:
        """Train a trial. Returns whether that was done, or failed; not if another process trains it."""
        overrides = self.command(trial)
        with _log_file(trial.run):
            try:
                train(compose(*overrides), trial.run, overrides, show_bar=False, pause_after=until)
            except InUse:
                return False
            except (InputError, RunError) as error:
                log.info("error: %s", error)
                trial.run.fail(str(error), overrides)
            except Exception as error:
                log.info("failed", exc_info=True)
                trial.run.fail(f"{type(error).__name__}: {error}", overrides)
        return True


def _distribution(values: Range | list[Any]) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution(values)
    low, high, step = values.low, values.high, values.step
    if all(isinstance(each, int) for each in (low, high, step or 1)):
        return IntDistribution(int(low), int(high), log=values.log, step=int(step or 1))
    return FloatDistribution(low, high, log=values.log, step=step)


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
