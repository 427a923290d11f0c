"""Runs that are killed, asked to stop, and left without disk, at any moment; each must end as if nothing had been."""

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from benchmarks.faults import Case
from mnist_cnn.checkpoint import read_checkpoint
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs import Run
from mnist_cnn.train import CONF, train

# 40 steps an epoch, and a long validation: 1,500 of the sample's 4,000 images
KEYS = (
    *("data.name=sample", "data.val_size=1500", "trainer=cpu", "trainer.max_epochs=3", "optimizer=adam"),
    *("scheduler=onecycle", "checkpoint.every_steps=20"),
)
AT_ONCE = 2  # processes


def start(folder: Path, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Start a training in a run directory, in a process of its own."""
    command = [*before, sys.executable, "-m", "mnist_cnn.train", *KEYS, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


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
    if wrong := finish(folder):
        raise RuntimeError(wrong)
    begin = (folder / ".hydra" / "config.yaml").stat().st_mtime
    return folder, (folder / "result.json").stat().st_mtime - begin


def _wait_until(there: Callable[[], bool], process: "subprocess.Popen[str]", every: float = 0.01) -> None:
    while process.poll() is None and not there():
        time.sleep(every)


def _at_random(folder: Path, process: "subprocess.Popen[str]", seconds: float, chance: random.Random) -> None:
    """Wait for a moment between the first file of a run and its end."""
    _wait_until((folder / ".hydra" / "config.yaml").exists, process)
    time.sleep(chance.uniform(0, seconds))


def _while_saving(folder: Path, process: "subprocess.Popen[str]", chance: random.Random) -> None:
    """Wait until a checkpoint is half written, after some that were whole."""
    for _ in range(chance.randrange(1, 6)):
        _wait_until(lambda: not _half_written(folder), process, 0.0005)
        _wait_until(lambda: _half_written(folder), process, 0.0005)


def _half_written(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".*.tmp"))


def kills(work: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """SIGKILL at random moments, every third while a checkpoint is being written."""
    reference, seconds = uncut(work)

    def case(number: int) -> Case:
        folder, chance = work / f"kill-{number}", random.Random(seed + number)  # noqa: S311 - to be repeatable
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
        folder, chance = work / f"signal-{number}", random.Random(seed + number)  # noqa: S311 - to be repeatable
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
        return Case(f"{kind.name}{' twice' if twice else ''}", where, wrong, took)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(case, range(count))


def _how_it_stopped(folder: Path, status: int, said: str, kind: signal.Signals, twice: bool, took: float) -> str:
    if status in (0, -kind) and Run(folder).result() and took < 2:
        return ""  # the signal came when all was done
    if status != 128 + kind:
        return f"ended with {status}: {said[-300:]}"
    if took > 5:
        return f"took {took:.1f} s"
    if "Traceback" in said:
        return f"said {said[-300:]}"
    if Run(folder).last.exists():
        read_checkpoint(Run(folder).last)
        if not twice and "to go on: python -m mnist_cnn.train" not in said:
            return f"did not say how to go on: {said[-300:]}"
    return ""


def _where(folder: Path) -> str:
    """Say what was going on when a run stopped."""
    if Run(folder).result():
        return "at the end"
    if not Run(folder).last.exists():
        return "before the first step"
    steps = read_checkpoint(Run(folder).last)["global_step"]
    return "in validation or test" if steps % 40 == 0 else "in an epoch"


def full_disks(work: Path, every: int = 1) -> Iterator[Case]:
    """Let each write of a run fail in turn for want of space, in this process."""
    keys = (*KEYS[:3], "trainer.max_epochs=2", *KEYS[4:])
    whole = work / "whole"
    writes = _train_with_disk(whole, keys, None)
    for number in range(0, writes, every):
        folder = work / "full"
        wrong = _fails_and_goes_on(folder, keys, number) or difference(folder, whole)
        shutil.rmtree(folder)
        yield Case("disk", "full at each write", wrong)


def _fails_and_goes_on(folder: Path, keys: Sequence[str], number: int) -> str:
    try:
        _train_with_disk(folder, keys, number)
    except (RunError, InputError) as error:
        if "No space left on device" not in str(error) or "\n" in str(error):
            return f"said {error}"
    else:
        return f"write {number} was not missed"
    if Run(folder).last.exists():
        read_checkpoint(Run(folder).last)
    if Run(folder).result():
        return "wrote a result"
    _train_with_disk(folder, keys, None)
    return ""


def _train_with_disk(folder: Path, keys: Sequence[str], full_at: int | None) -> int:
    """Train in this process. Returns how many files were written; the disk is full when it comes to that one."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=list(keys))
    writes, fsync = 0, os.fsync

    def count(descriptor: int) -> None:
        nonlocal writes
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if writes == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            writes += 1
        fsync(descriptor)

    os.fsync = count
    try:
        train(config, Run(folder))
    finally:
        os.fsync = fsync
    return writes


def small_disks(work: Path, sizes: Sequence[int]) -> Iterator[Case]:
    """Train on disks of so many KiB, then on the same disk made larger. Needs to be root."""
    reference, _ = uncut(work)
    disk = work / "disk"
    disk.mkdir()
    for size in sizes:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True)  # noqa: S607
        try:
            process = start(disk / "run")
            _, said = process.communicate()
            wrong = _how_it_failed(disk / "run", process.returncode, said, "No space left on device")
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)  # noqa: S607
            wrong = wrong or finish(disk / "run") or difference(disk / "run", reference)
        finally:
            subprocess.run(["umount", str(disk)], check=True)  # noqa: S607
        yield Case("disk", "a small disk is full", wrong)


def permissions(work: Path, count: int) -> Iterator[Case]:
    """Take the right to write away: before the run, and after its first checkpoint. Root gives its privilege up."""
    reference, _ = uncut(work)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    for number in range(count):
        folder = work / f"permission-{number}" / "run"
        folder.parent.mkdir(mode=0o755 if number else 0o555)
        process = start(folder, powerless)
        if number:
            _wait_until(Run(folder).last.exists, process)
            Run(folder).last.parent.chmod(0o555)
        _, said = process.communicate()
        wrong = _how_it_failed(folder, process.returncode, said, "Permission denied")
        (Run(folder).last if number else folder).parent.chmod(0o755)
        wrong = wrong or finish(folder) or difference(folder, reference)
        yield Case("disk", "permission lost in the middle" if number else "read-only outputs", wrong)


def _how_it_failed(folder: Path, status: int, said: str, reason: str) -> str:
    errors = [line for line in said.splitlines() if not line.startswith("warning: ")]
    if status not in (1, 2) or len(errors) != 1 or reason not in errors[0]:
        return f"ended with {status}: {said[-300:]}"
    if Run(folder).last.exists():
        read_checkpoint(Run(folder).last)
    return ""
