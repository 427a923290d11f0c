"""Several trainings, each a process of its own: for the records, and for other networks."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from mnist_cnn.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
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


def commit_but_for_logs() -> str | None:
    """Return the commit of this checkout; a log that grows does not make it dirty."""
    from mnist_cnn.training.machine import commit_of

    commit = commit_of(ROOT)
    if commit and commit.endswith("-dirty"):
        others = ["git", "-C", str(ROOT), "diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/records/*.txt"]
        return commit.removesuffix("-dirty") if subprocess.run(others).returncode == 0 else commit
    return commit


def at_least(least: int) -> Callable[[str], int]:
    """Return what argparse makes an integer with, and refuses smaller ones."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"give a number of at least {least}, not {text}")
        return int(text)

    return number
