"""Runs that are left without disk, or without the right to write; each must end as if nothing had been."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from tests.faults import Case
from tests.faults.runs import KEYS, difference, finish, start, uncut, wait_until


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
    config = compose(*keys)
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
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], check=True)
        try:
            process = start(disk / "run")
            _, said = process.communicate()
            wrong = _how_it_failed(disk / "run", process.returncode, said, "No space left on device")
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            wrong = wrong or finish(disk / "run") or difference(disk / "run", reference)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        yield Case("disk", "a small disk is full", wrong)


def permissions(work: Path, count: int) -> Iterator[Case]:
    """Take the right to write away: before the run, and after its first checkpoint. Root gives its privilege up."""
    reference, _ = uncut(work)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    for number in range(count):
        folder = work / f"permission-{number}" / "run"
        folder.parent.mkdir(mode=0o755 if number else 0o555)
        command = [*powerless, sys.executable, "-m", "mnist_cnn.train", *KEYS, f"hydra.run.dir={folder}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if number:
            wait_until(Run(folder).last.exists, process)
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
