"""The record book: `python -m benchmarks.records NAME OVERRIDE ... [--seeds 10] [--jobs 1]` trains and writes NAME.txt.

A training per seed, each its own process, tested once. The log has the command, the settings, and of each seed the
commit, the machine, the versions, every epoch, the result and the seconds from the command's start to its end. Seeds
that the log has are not trained again. At the end, or without NAME, it prints the table of README.md, made of the logs.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.records import book
from mnist_cnn.cli import run_command
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.settings import compose
from mnist_cnn.training.machine import commit_of

_OURS = ("seed=", "threads=", "data.dir=", "hydra.run.dir=", "resume=")  # overrides that this command gives itself
_trainings: list[subprocess.Popen[str]] = []


def train(seed: int, overrides: Sequence[str], run: Path) -> dict[str, Any]:
    """Train with a seed in a process of its own. Returns result.json, with `seconds` and the `log` of its epochs."""
    keys = (f"seed={seed}", f"hydra.run.dir={run}", "resume=never")  # a resumed training's seconds are not all
    command = [sys.executable, "-m", "mnist_cnn.train", *overrides, *keys]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _trainings.append(process)
    errors = process.communicate()[1]
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise InputError(f"seed {seed} failed: {errors[-500:].strip().removeprefix('error: ')}")
    result = json.loads((run / "result.json").read_text("utf-8"))
    log = re.findall(r"epoch \d.*", (run / "train.log").read_text("utf-8"))[-result["epochs"] :]
    return {**result, "seconds": seconds, "log": "\n".join(log)}


def train_all(
    todo: Sequence[Any], train_one: Callable[[Any], dict[str, Any]], keep: Callable[[Any, Any], None], jobs: int
) -> None:
    """Train `jobs` at a time, and keep each result as it comes. An error ends those that run; no others begin."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train_one, job): job for job in todo}
        try:
            for future in as_completed(futures):
                keep(futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in _trainings:
                process.terminate()  # nothing if it has ended
            raise


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
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"{name} is no name for a log: letters, digits, - and _ are")
    if own := [each for each in overrides if each.startswith(_OURS)]:
        raise InputError(f"{own[0]} is for benchmarks.records to say: see --seeds, --jobs, --data-dir, --runs")
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


def commit_but_for_logs() -> str | None:
    """Return the commit of this checkout; a log that grows does not make it dirty."""
    commit = commit_of(book.FOLDER.parents[1])
    if commit and commit.endswith("-dirty"):
        others = ["git", "-C", str(book.FOLDER), "diff", "--quiet", "HEAD", "--", ":/", ":!*.txt"]
        return commit.removesuffix("-dirty") if subprocess.run(others).returncode == 0 else commit
    return commit


def at_least(least: int) -> Callable[[str], int]:
    """Return what argparse makes an integer with, and refuses smaller ones."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no number of at least {least}")
        return int(text)

    return number


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
