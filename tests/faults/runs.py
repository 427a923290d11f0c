"""Runs that are killed or asked to stop at any moment; each must end as if nothing had been."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from tests.commands import Command
from tests.faults import Case

# 40 steps an epoch, and a long validation: 1,500 of the sample's 4,000 images
KEYS = (
    *("data.name=sample", "data.val_size=1500", "trainer=cpu", "trainer.max_epochs=3", "optimizer=adam"),
    *("scheduler=onecycle", "checkpoint.every_steps=20"),
)
AT_ONCE = 2  # processes


def start(folder: Path) -> Command:
    """Start a training in a run directory, in a process of its own."""
    return Command("-m", "mnist_cnn.train", *KEYS, f"hydra.run.dir={folder}")


def finish(folder: Path) -> str:
    """Give the same command again. Returns what went wrong."""
    process = start(folder)
    _, said = process.communicate()
    return said if process.returncode else ""


def difference(run: Path, uncut: Path) -> str:
    """Say in what two run directories differ: bits of weights, rows, results. Seconds are no result."""
    for name in sorted(file.name for file in Run(uncut).last.parent.glob("*.ckpt")):
        ours, theirs = (read_checkpoint(folder / "checkpoints" / name) for folder in (run, uncut))
        if not all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items()):
            return f"{name} differs"
    if (run / "metrics.csv").read_bytes() != (uncut / "metrics.csv").read_bytes():
        return "metrics.csv differs"
    if _result(run) != _result(uncut):
        return "result.json differs"
    left = [path.name for path in run.rglob(".*.tmp")]
    return f"left {left}" if left else ""


def _result(run: Path) -> dict[str, object]:
    result = Run(run).result()
    return result | {"seconds_per_epoch": len(result["seconds_per_epoch"])}


def uncut(work: Path) -> tuple[Path, float]:
    """Train once without a fault. Returns its directory and the seconds from its first file to its last."""
    folder = work / "uncut"
    if not (folder / "result.json").exists() and (wrong := finish(folder)):
        raise RuntimeError(wrong)
    begin = (folder / ".hydra" / "config.yaml").stat().st_mtime
    return folder, (folder / "result.json").stat().st_mtime - begin


def wait_until(there: Callable[[], bool], process: "Command | subprocess.Popen[str]", every: float = 0.01) -> None:
    """Wait for something, or the process's end."""
    while process.poll() is None and not there():
        time.sleep(every)


def _at_random(folder: Path, process: Command, seconds: float, chance: random.Random) -> None:
    """Wait for a moment between the first file of a run and its end."""
    wait_until((folder / ".hydra" / "config.yaml").exists, process)
    time.sleep(chance.uniform(0, seconds))


def _while_saving(folder: Path, process: Command, chance: random.Random) -> None:
    """Wait until a checkpoint is half written, after some that were whole."""
    for _ in range(chance.randrange(1, 6)):
        wait_until(lambda: not _half_written(folder), process, 0.0005)
        wait_until(lambda: _half_written(folder), process, 0.0005)


def _half_written(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".*.tmp"))


def kills(work: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """SIGKILL at random moments, every third while a checkpoint is being written."""
    reference, seconds = uncut(work)

    def case(number: int) -> Case:
        folder, chance = work / f"kill-{number}", random.Random(seed + number)
        process = start(folder)
        if number % 3:
            _at_random(folder, process, seconds, chance)
        else:
            _while_saving(folder, process, chance)
        process.kill()
        process.communicate()
        moment = "while saving" if _half_written(folder) else "at a random moment"
        if process.returncode != -signal.SIGKILL:
            moment = "after the end"
        wrong = finish(folder) or difference(folder, reference)
        shutil.rmtree(folder)
        return Case("kill -9", moment, wrong)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(case, range(count))


def signals(work: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """SIGTERM and SIGINT at random moments, and every fifth time twice."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else, in a shell's background, children would ignore it
    reference, seconds = uncut(work)

    def case(number: int) -> Case:
        folder, chance = work / f"signal-{number}", random.Random(seed + number)
        kind = (signal.SIGTERM, signal.SIGINT)[number % 2]
        twice = number % 5 == 4
        process = start(folder)
        _at_random(folder, process, seconds, chance)
        begin = time.monotonic()
        process.send_signal(kind)
        if twice:
            time.sleep(0.01)
            process.send_signal(kind)
        said = "".join(process.communicate())
        took = time.monotonic() - begin
        wrong = _how_it_stopped(folder, process.returncode, said, kind, twice, took)
        where = _where(folder)
        wrong = wrong or finish(folder) or difference(folder, reference)
        shutil.rmtree(folder)
        return Case(f"{kind.name}{' twice' if twice else ''}", where, wrong, took, limit=5)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(case, range(count))


def _how_it_stopped(folder: Path, status: int, said: str, kind: signal.Signals, twice: bool, took: float) -> str:
    if status in (0, -kind) and Run(folder).result() and took < 4:
        return ""  # the signal came when all was done
    if status != 128 + kind:
        return f"ended with {status}: {said[-300:]}"
    if "Traceback" in said:
        return f"said {said[-300:]}"
    if Run(folder).last.exists():
        read_checkpoint(Run(folder).last)
        if not twice and "to resume: python -m mnist_cnn.train" not in said:
            return f"did not print how to resume: {said[-300:]}"
    return ""


def _where(folder: Path) -> str:
    """Say what was going on when a run stopped."""
    if Run(folder).result():
        return "at the end"
    if not Run(folder).last.exists():
        return "before the first step"
    steps = read_checkpoint(Run(folder).last)["global_step"]
    return "in validation or test" if steps % 40 == 0 else "in an epoch"
