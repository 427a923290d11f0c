"""Sweeps whose process is killed again and again, and sweeps that several processes drive at once."""

import csv
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from tests.commands import Command
from tests.faults import Case

# 6 jobs of 2 epochs of 35 steps
SWEEP = (
    *("-m", "model.padding=valid,same", "seed=range(3)", "data.name=sample", "data.val_size=500", "trainer=cpu"),
    *("data.batch_size=100", "model.channels=[2,4]", "trainer.max_epochs=2", "checkpoint.every_steps=16", "threads=1"),
)
JOBS = 6


def start(folder: Path) -> Command:
    """Start the sweep in a folder, in a process of its own."""
    return Command("-m", "mnist_cnn.train", *SWEEP, f"hydra.sweep.dir={folder}")


def finish(folder: Path) -> str:
    """Give the command, and wait for its end. Returns what went wrong."""
    process = start(folder)
    said = "".join(process.communicate())
    return said if process.returncode else ""


def uncut(work: Path) -> tuple[Path, float]:
    """Sweep once without a fault. Returns the folder and the seconds from its first file to its last."""
    folder = work / "uncut"
    if not folder.exists() and (wrong := finish(folder)):
        raise RuntimeError(wrong)
    begin = min(file.stat().st_mtime for file in folder.glob("*/.hydra/config.yaml"))
    return folder, (folder / "table.csv").stat().st_mtime - begin


def difference(folder: Path, reference: Path) -> str:
    """Say in what two sweeps differ: the table but for its seconds, the weights."""
    if _table(folder) != _table(reference):
        return "table.csv differs"
    for run in map(Run, sorted(path.parent for path in reference.glob("*/result.json"))):
        ours, theirs = (read_checkpoint(Run(where / run.path.name).last) for where in (folder, reference))
        if not all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items()):
            return f"{run.path.name} differs"
    return ""


def _table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


def kills(work: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """SIGKILL at random moments, five times in one sweep."""
    reference, seconds = uncut(work)
    chance, folder = random.Random(seed), work / "killed"
    for _ in range(count // 5):
        for _ in range(5):
            process = start(folder)
            time.sleep(chance.uniform(0, seconds / 2))
            process.kill()
            process.communicate()
        yield Case("sweep", "killed 5 times", finish(folder) or difference(folder, reference))
        shutil.rmtree(folder)


def drivers(work: Path, count: int) -> Iterator[Case]:
    """Three processes drive one sweep at once: each job is trained once."""
    reference, _ = uncut(work)
    for number in range(count):
        folder = work / f"shared-{number}"
        processes = [start(folder) for _ in range(3)]
        said = ["".join(process.communicate()) for process in processes]
        wrong = "".join(each for each, process in zip(said, processes, strict=True) if process.returncode)
        trained = [log.read_text().count("training images") for log in folder.glob("*/train.log")]
        if not wrong and trained != [1] * JOBS:
            wrong = f"jobs were trained {trained} times"
        yield Case("sweep", "driven by 3 processes", wrong or difference(folder, reference))
        shutil.rmtree(folder)
