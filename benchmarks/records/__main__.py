"""The record book: `python -m benchmarks.records NAME OVERRIDE ... [--seeds 10] [--jobs 1]` trains and writes NAME.txt.

A training per seed, each its own process, tested once. The log has the command, the settings, and of each seed the
commit, the machine, the versions, every epoch, the result and the seconds from the command's start to its end. Seeds
that the log has are not trained again. At the end, or without NAME, it prints the table of README.md, made of the logs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any

from scipy.stats import ttest_1samp

from mnist_cnn.cli import run_command
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.settings import compose
from mnist_cnn.training.machine import commit_of

FOLDER = Path(__file__).parent
SEEDS = 10
THRESHOLDS = (0.990, 0.993, 0.994, 0.995, 0.996, 0.997, 0.9975)
_SEED = re.compile(r"seed (\d+): test/acc ([\d.]+), epochs (\d+), seconds ([\d.]+), threads (\d+), ([\d-]+), (.*)")


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

    def p_below(self, threshold: float) -> float:
        """Return the p-value of a one-sided t-test of a mean of at most `threshold`."""
        return float(ttest_1samp(self.accuracies, threshold, alternative="greater").pvalue)


def parse(text: str, name: str) -> Record:
    """Read a log. Raises InputError if it has no seed, one twice, or seeds of two commits, machines or versions."""
    seeds = _SEED.findall(text)
    numbers, accuracies, epochs, seconds, threads, dates, conditions = zip(*seeds, strict=True) if seeds else [()] * 7
    if len(set(numbers)) != len(seeds) or any(len(set(each)) != 1 for each in (epochs, threads, conditions)):
        raise InputError(f"{name} is no log of different seeds under the same conditions")
    command = text.partition("\n")[0]
    figures = [[float(each) for each in column] for column in (accuracies, seconds)]
    return Record(name, max(dates), command, int(epochs[0]), int(threads[0]), *figures)


def read_all() -> list[Record]:
    """Read all logs."""
    return [parse(file.read_text("utf-8"), file.stem) for file in sorted(FOLDER.glob("*.txt"))]


def table(records: Sequence[Record]) -> str:
    """Write a row per threshold: of those with ten seeds whose mean is above it, p < 0.05, the fewest core-seconds."""
    rows = ["| above | epochs | seconds, median | threads | test accuracy | n | p | command | log |", "|---" * 9 + "|"]
    for threshold in THRESHOLDS:
        complete = [record for record in records if len(record.accuracies) >= SEEDS]
        holders = [record for record in complete if record.p_below(threshold) < 0.05]
        if not holders:
            rows.append(f"| {threshold:.2%} | no complete log | | | | | | | |")
            continue
        best = min(holders, key=lambda record: median(record.seconds) * record.threads)
        rows.append(
            f"| {threshold:.2%} | {best.epochs} | {median(best.seconds):.1f} | {best.threads} "
            f"| {mean(best.accuracies):.5f} ± {stdev(best.accuracies):.5f} | {len(best.accuracies)} "
            f"| {best.p_below(threshold):.1g} | `{best.command}` | [{best.date}]({best.name}.txt) |"
        )
    return "\n".join(rows)


def train(seed: int, overrides: Sequence[str], run: Path) -> dict[str, Any]:
    """Train with a seed in a process of its own. Returns result.json, with `seconds` and the `log` of its epochs."""
    keys = (f"seed={seed}", f"hydra.run.dir={run}", "resume=never")  # a resumed training's seconds are not all
    command = [sys.executable, "-m", "mnist_cnn.train", *overrides, *keys]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise InputError(f"seed {seed} failed: {done.stderr[-500:]}")
    result = json.loads((run / "result.json").read_text("utf-8"))
    log = re.findall(r"epoch \d.*", (run / "train.log").read_text("utf-8"))[-result["epochs"] :]
    return {**result, "seconds": seconds, "log": "\n".join(log)}


def describe(seed: int, result: Mapping[str, Any]) -> str:
    """Write a seed's part of the log."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"seed {seed}: test/acc {result['test/acc']}, epochs {result['epochs']}, seconds {result['seconds']:.1f}, "
        f"threads {result['threads']}, {datetime.now(UTC):%Y-%m-%d}, commit {result['commit']}, "
        f"{result['device_name']}, {versions}\n{result['log']}\n"
    )


def train_all(
    todo: Sequence[Any], train_one: Callable[[Any], dict[str, Any]], keep: Callable[[Any, Any], None], jobs: int
) -> None:
    """Train `jobs` at a time, and keep the results in order. After an error, those that have not begun do not begin."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(train_one, job) for job in todo]
        try:
            for job, future in zip(todo, futures, strict=True):
                keep(job, future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def record(name: str, overrides: Sequence[str], seeds: int, jobs: int, data_dir: Path, runs: Path | None) -> None:
    """Train the seeds that the log does not have yet, `jobs` at a time, and append them in order."""
    file, commit = FOLDER / f"{name}.txt", commit_but_for_logs()
    command, text = f"python -m mnist_cnn.train {' '.join(overrides)}", file.read_text("utf-8") if file.exists() else ""
    keys = [*overrides, f"data.dir={data_dir}", *([f"threads={max(1, (os.cpu_count() or 1) // jobs)}"] * (jobs > 1))]
    values = decisive(compose(*keys).to_dict())
    settings = [f"{key}: {json.dumps(value)}" for key, value in values.items() if key != "seed"]
    head = "\n".join([command, "", *settings, "", ""])
    if text and not text.startswith(f"{command}\n"):
        raise InputError(f"{name} is the log of another command: {text.splitlines()[0]}")
    if text and not text.startswith(head):
        raise InputError(f"the command has other settings today than in {file}: choose another name")
    if text and f", commit {commit}, " not in text:
        raise InputError(f"{file} is of another commit than {commit}: check that one out, or choose another name")
    had = {int(seed[0]) for seed in _SEED.findall(text)}

    def keep(seed: int, result: Mapping[str, Any]) -> None:
        begun = file.exists()
        part = describe(seed, {**result, "commit": commit})
        parse((file.read_text("utf-8") if begun else "") + part, name)
        with file.open("a", encoding="utf-8") as log:  # it is hours of training: never written anew
            log.write(part if begun else head + part)
        print(part.partition("\n")[0], flush=True)

    todo = [seed for seed in range(seeds) if seed not in had]
    with TemporaryDirectory() as folder:
        kept = (runs or Path(folder)).resolve()
        train_all(todo, lambda seed: train(seed, keys, kept / str(seed)), keep, jobs)


def commit_but_for_logs() -> str | None:
    """Return the commit of this checkout; a log that grows does not make it dirty."""
    commit = commit_of(FOLDER.parents[1])
    if commit and commit.endswith("-dirty"):
        others = ["git", "-C", str(FOLDER), "diff", "--quiet", "HEAD", "--", ":/", ":!*.txt"]
        return commit.removesuffix("-dirty") if subprocess.run(others).returncode == 0 else commit
    return commit


def main() -> None:
    """Train and write a log, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help="of the log")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of python -m mnist_cnn.train")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keep the run directories there")
    options = parser.parse_args()
    if options.name:
        data_dir = options.data_dir.resolve()
        record(options.name, options.overrides, options.seeds, options.jobs, data_dir, options.runs)
    print(table(read_all()))


if __name__ == "__main__":
    run_command(main)
