"""What Optuna does in a search: it proposes the next trial, and measures which hyperparameters matter."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mnist_cnn.schema import Range, Search
from mnist_cnn.searches.trials import Trial

_SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@dataclass(frozen=True)
class Proposals:
    """Proposes trials. They are compared by their val/acc after `level` epochs, which all of them reach."""

    search: Search
    level: int

    def propose(self, trials: Sequence[Trial], number: int) -> dict[str, Any]:
        """Return the values of trial `number`. They depend only on the earlier trials."""
        asked = self._study(trials, number).ask(self._distributions())
        return {key: _shorten(self.search.space[key], value) for key, value in asked.params.items()}

    def importances(self, trials: Sequence[Trial]) -> str:
        """Return the share of each hyperparameter in the variation of val/acc."""
        try:
            with warnings.catch_warnings(action="error"):
                shares = optuna.importance.get_param_importances(self._study(trials))
        except (ValueError, RuntimeError, UserWarning):  # too few trials, or all alike
            return "not known from so few trials"
        return ", ".join(f"{key} {share:.2f}" for key, share in shares.items())

    def _study(self, trials: Sequence[Trial], number: int = 0) -> optuna.Study:
        """Return the trials as a study in memory, whose sampler is seeded by the number of the next trial."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = (self.search.seed * 10_007 + number) % 2**32  # 10,000 trials at most
        study = optuna.create_study(direction="maximize", sampler=_SAMPLERS[self.search.sampler](seed=seed))
        for trial in trials:
            known = trial.epochs >= self.level and not trial.run.has_failed()
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if known else TrialState.FAIL,
                    params=trial.params,
                    distributions=self._distributions(),
                    value=trial.scores[self.level - 1] if known else None,
                )
            )
        return study

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {key: _distribution(values) for key, values in self.search.space.items()}


def _distribution(values: Range | list[Any]) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution(values)
    low, high, step = values.low, values.high, values.step
    if all(isinstance(each, int) for each in (low, high, step or 1)):
        return IntDistribution(int(low), int(high), log=values.log, step=int(step or 1))
    return FloatDistribution(low, high, log=values.log, step=step)


def _shorten(values: Range | list[Any], value: Any) -> Any:
    """Round a float to four digits: people read and type the winner's command."""
    if isinstance(value, float) and isinstance(values, Range):
        return min(max(float(f"{value:.4g}"), float(values.low)), float(values.high))
    return value
