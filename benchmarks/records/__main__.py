"""The record book: `python -m benchmarks.records NAME OVERRIDE ... [--seeds 10] [--jobs 1]` trains and writes NAME.txt.

A training per seed, each its own process, tested once. The log has the command, the settings, and of each seed the
commit, the machine, the versions, every epoch, the result and the seconds from the command's start to its end. Seeds
that the log has are not trained again. At the end, or without NAME, it prints the table of README.md, made of the logs.
"""

import argparse
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.records import book
from benchmarks.trainings import at_least, commit_but_for_logs, train, train_all
from mnist_cnn.cli import run_command
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.settings import compose

_OURS = ("seed=", "threads=", "data.dir=", "hydra.run.dir=", "resume=")  # overrides that this command gives itself


def describe(seed: int, result: Mapping[str, Any]) -> str:
    """Write a seed's part of the log."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"seed {seed}: test/acc {result['test/acc']}, epochs {result['epochs']}, seconds {result['seconds']:.1f}, "
        f"threads {result['threads']}, {datetime.now(UTC):%Y-%m-%d}, commit {result['commit']}, "
        f"{result['device_name']}, {versions}\n{result['log']}\n"
    )


def record(name: str, overrides: Sequence[str], seeds: int, jobs: int, data_dir: Path, runs: Path | None) -> None:
    """Train the seeds that the log does not have yet, `jobs` at a time, and append each."""
    import torch

    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"{name} cannot name a log: use letters, digits, - and _")
    if own := [each for each in overrides if each.startswith(_OURS)]:
        raise InputError(f"{own[0]} is set by benchmarks.records: see --seeds, --jobs, --data-dir, --runs")
    file, commit = book.FOLDER / f"{name}.txt", commit_but_for_logs()
    text = file.read_text("utf-8") if file.exists() else ""
    threads = torch.get_num_threads() if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    keys = [*overrides, f"data.dir={data_dir}", f"threads={threads}"]
    settings = book.lines_of(decisive(compose(*keys).to_dict()))
    head = "\n".join([f"python -m mnist_cnn.train {shlex.join(overrides)}", "", *settings, "", ""])
    if text:
        if not text.startswith(head):
            raise InputError(f"{file} has another command or other settings: choose another name, or delete it")
        if not all(each in text for each in (f", commit {commit}, ", f", threads {threads}, ")):
            raise InputError(f"{file} is not of commit {commit} and {threads} threads: choose another name")
        book.parse(text, name)
    had = {int(seed[0]) for seed in book.SEED.findall(text)}

    def keep(seed: int, result: Mapping[str, Any]) -> None:
        if commit_but_for_logs() != commit or not set(settings) <= set(book.lines_of(result["settings"])):
            raise InputError("the code or conf/ has changed since the first seed: train from a copy that nobody edits")
        begun = file.exists()
        part = describe(seed, {**result, "commit": commit})
        book.parse((file.read_text("utf-8") if begun else head) + part, name)
        with file.open("a", encoding="utf-8") as log:  # it is hours of training: never written anew
            log.write(part if begun else head + part)
        print(part.partition("\n")[0], flush=True)

    todo = [seed for seed in range(seeds) if seed not in had]
    with TemporaryDirectory() as folder:
        kept = (runs or Path(folder)).resolve()
        train_all(todo, lambda seed: train(seed, keys, kept / str(seed)), keep, jobs)
    print(book.parse(file.read_text("utf-8"), name))


def main() -> None:
    """Train and write a log, or print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help="of the log")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of python -m mnist_cnn.train")
    parser.add_argument("--seeds", type=at_least(1), default=book.SEEDS)
    parser.add_argument("--jobs", type=at_least(1), default=1, help="trainings at a time, which share the cores")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="keep the run directories there")
    options = parser.parse_args()
    if options.name:
        data_dir = options.data_dir.resolve()
        record(options.name, options.overrides, options.seeds, options.jobs, data_dir, options.runs)
    print(book.table(book.read_all()))


if __name__ == "__main__":
    run_command(main)
