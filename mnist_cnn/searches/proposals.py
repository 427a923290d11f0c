"""What Optuna does in a search: it proposes the next trial, and measures which hyperparameters matter."""

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mnist_cnn.schema import Range, Search
from mnist_cnn.searches.trials import Trial

_SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


def propose(search: Search, level: int, trials: Sequence[Trial], number: int) -> dict[str, Any]:
    """Return the values of trial `number`. They depend only on the earlier trials, and their val/acc at `level`."""
    asked = _study(search, level, trials, number).ask(_distributions(search))
    return {key: _shorten(search.space[key], value) for key, value in asked.params.items()}


def explain_importances(search: Search, level: int, trials: Sequence[Trial]) -> str:
    """Write the share of each hyperparameter in the variation of val/acc at `level`."""
    try:
        with warnings.catch_warnings(action="error"):
            shares = optuna.importance.get_param_importances(_study(search, level, trials))
    except (ValueError, RuntimeError, UserWarning):  # too few trials, or all alike
        return "not known from so few trials"
    return ", ".join(f"{key} {share:.2f}" for key, share in shares.items())


def _study(search: Search, level: int, trials: Sequence[Trial], number: int = 0) -> optuna.Study:
    """Return the trials as a study in memory, whose sampler is seeded by the number of the next trial.

    They are compared by their val/acc after `level` epochs, which all of them reach.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = (search.seed * 10_007 + number) % 2**32  # 10,000 trials at most
    study = optuna.create_study(direction="maximize", sampler=_SAMPLERS[search.sampler](seed=seed))
    for trial in trials:
        known = trial.epochs >= level and not trial.run.has_failed()
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if known else TrialState.FAIL,
                params=trial.params,
                distributions=_distributions(search),
                value=trial.scores[level - 1] if known else None,
            )
        )
    return study


def _distributions(search: Search) -> dict[str, BaseDistribution]:
    return {key: _distribution(values) for key, values in search.space.items()}


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
