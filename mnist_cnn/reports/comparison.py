"""Is the best row of a sweep better than the others? Paired t-tests over the seeds and folds that two rows share."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from scipy.stats import ttest_rel

from mnist_cnn.runs.rendering import Row

_SIGNIFICANT = 0.05
_FEW = 5  # pairs


class Comparison(NamedTuple):
    """By how many points the best row is ahead of another in each repetition that they share, and the p-value.

    `p` is None where no test is possible: with fewer than two pairs, or if all differ by the same amount.
    """

    other: Row
    differences: list[float]
    p: float | None

    def describe(self, name: str, best: str, other: str, paired_by: str = "seed") -> str:
        """Write it as a sentence."""
        n = len(self.differences)
        if n < 2:
            return f"{best} and {other} have {n} {paired_by} in common: with fewer than 2, no test is possible."
        position = "ahead of" if mean(self.differences) >= 0 else "behind"
        points = f"{abs(mean(self.differences)):.2f} ± {stdev(self.differences):.2f} points of {name}"
        said = f"{best} is {position} {other} by {points} (mean and sd of n = {n} differences, paired by {paired_by}"
        if self.p is None:
            return f"{said}): all pairs differ alike, so that no test is possible."
        said += ", p < 0.001)" if self.p < 0.001 else f", p = {self.p:.2g})"
        said += "" if self.p < _SIGNIFICANT else ": this may be chance"
        return said + (f"; with n = {n}, only large differences can be shown." if n < _FEW else ".")


def compare_with_best(rows: Sequence[Row], name: str) -> list[Comparison]:
    """Compare the first row, the best, with each of the others. The p-values are corrected for their number."""
    best, *others = [_by_repetition(row, name) for row in rows]
    compared = []
    for row, values in zip(rows[1:], others, strict=True):
        pairs = [(best[each], values[each]) for each in best if each in values]
        compared.append(Comparison(row, [100 * (first - second) for first, second in pairs], paired_p(pairs)))
    corrected = iter(holm([each.p for each in compared if each.p is not None]))
    return [each if each.p is None else each._replace(p=next(corrected)) for each in compared]


def paired_p(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the two-sided p-value of a paired t-test; None where it is not defined."""
    if len({round(first - second, 9) for first, second in pairs}) < 2:
        return None
    return float(ttest_rel(*zip(*pairs, strict=True)).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def paired_by(rows: Sequence[Row]) -> str:
    """Return what tells the runs of a row apart."""
    folds = {run.settings().get("data.fold", 0) for row in rows for run in row.complete}
    return "seed and fold" if len(folds) > 1 else "seed"


def _by_repetition(row: Row, name: str) -> dict[tuple[Any, Any], float]:
    """Return a figure of the row's complete runs by their seed and fold."""
    settings = [run.settings() for run in row.complete]
    repetitions = [(each.get("seed"), each.get("data.fold", 0)) for each in settings]
    return dict(zip(repetitions, row.figures[name], strict=True))
