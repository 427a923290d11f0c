"""The record book: its logs, and the table that is made of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import ttest_1samp

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.settings import compose

FOLDER = Path(__file__).parent
SEEDS = 10
THRESHOLDS = (0.990, 0.993, 0.994, 0.995, 0.996, 0.997, 0.9975)
SEED = re.compile(
    r"^seed (\d+): test/acc ([\d.]+), epochs (\d+), seconds ([\d.]+), threads (\d+), ([\d-]+), (.*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Record:
    """A log: the seeds' test accuracies and seconds."""

    name: str
    date: str
    command: str
    epochs: int
    threads: int
    accuracies: Sequence[float]
    seconds: Sequence[float]
    notebooks: bool = True

    def p_below(self, threshold: float) -> float:
        """Return the p-value of a one-sided t-test of a mean of at most `threshold`."""
        return float(ttest_1samp(self.accuracies, threshold, alternative="greater").pvalue)

    def __str__(self) -> str:
        spread = f" ± {stdev(self.accuracies):.5f}" if len(self.accuracies) > 1 else ""
        other = "" if self.notebooks else "; no record: it is not the notebook's network on MNIST"
        return (
            f"{self.name}: {mean(self.accuracies):.5f}{spread}, {len(self.accuracies)} of {SEEDS} seeds, "
            f"{median(self.seconds):.1f} s{other}"
        )


def parse(text: str, name: str) -> Record:
    """Read a log.

    Raises InputError if it has no seed, one twice, or seeds of two commits, machines or versions, or if it lacks lines.
    """
    seeds, losses = SEED.findall(text), re.findall(r"^epoch .*\n", text, re.MULTILINE)
    numbers, accuracies, epochs, seconds, threads, dates, conditions = zip(*seeds, strict=True) if seeds else [()] * 7
    if len(set(numbers)) != len(seeds) or any(len(set(each)) != 1 for each in (epochs, threads, conditions)):
        raise InputError(f"{name} is no log of different seeds under the same conditions")
    if len(losses) != sum(map(int, epochs)) or text.count(": test/acc ") != len(seeds):
        raise InputError(f"{name} lacks lines: it was cut off")
    figures = [[float(each) for each in column] for column in (accuracies, seconds)]
    lines = text.splitlines()
    notebooks = set(the_notebooks()) <= set(lines)
    return Record(name, max(dates), lines[0], int(epochs[0]), int(threads[0]), *figures, notebooks)


@cache
def the_notebooks() -> Sequence[str]:
    """Return the settings that a record must have: the notebook's network, MNIST, and nothing trained before."""
    fixed = ("model.", "data.name", "start_from", "teacher.runs")
    return [line for line in lines_of(decisive(compose().to_dict())) if line.startswith(fixed)]


def lines_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings of a result, but for the seed, as lines of a log."""
    return [f"{key}: {json.dumps(value)}" for key, value in settings.items() if key != "seed"]


def read_all() -> list[Record]:
    """Read all logs."""
    return [parse(file.read_text("utf-8"), file.stem) for file in sorted(FOLDER.glob("*.txt"))]


def table(records: Sequence[Record]) -> str:
    """Write a row per threshold: of those with ten seeds whose mean is above it, p < 0.05, the fewest core-seconds."""
    rows = ["| above | epochs | seconds, median | threads | test accuracy | n | p | command | log |", "|---" * 9 + "|"]
    complete = [record for record in records if record.notebooks and len(record.accuracies) == SEEDS]
    for threshold in THRESHOLDS:
        holders = [record for record in complete if record.p_below(threshold) < 0.05]
        if not holders:
            rows.append(f"| {threshold:.2%} | none yet | | | | | | | |")
            continue
        best = min(holders, key=lambda record: median(record.seconds) * record.threads)
        rows.append(
            f"| {threshold:.2%} | {best.epochs} | {median(best.seconds):.1f} | {best.threads} "
            f"| {mean(best.accuracies):.5f} ± {stdev(best.accuracies):.5f} | {len(best.accuracies)} "
            f"| {best.p_below(threshold):.1g} | `{best.command}` | [{best.date}]({best.name}.txt) |"
        )
    return "\n".join(rows)
