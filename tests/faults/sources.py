"""Mirrors that misbehave, and data folders with damaged files."""

import gzip
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnist_cnn.data import datasets
from mnist_cnn.data.download import Unreachable
from mnist_cnn.errors import InputError
from tests.faults import Case
from tests.faults.site import BAD_URLS, BAD_WAYS, FILES, Site, flip_bit, small_mnist

# these processes inherit the patch of `small_mnist`
FORK: Any = multiprocessing.get_context("fork" if os.name == "posix" else None)
TEMPORARY = ".train-images-idx3-ubyte.gz.tmp"

DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {  # of the file that holds the training images
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a bit flipped": flip_bit,
    "another MD5": lambda content: gzip.compress(gzip.decompress(content), 2),
}


def cases(work: Path) -> Iterator[Case]:
    """Make each fault. Check that it is refused in one line or repaired, and that the right images arrive."""
    with small_mnist(work / "mirror"):
        site = Site(work / "mirror")
        good = site.url("good")
        try:
            for fault, url in {**{way: site.url(way) for way in BAD_WAYS}, **BAD_URLS}.items():
                yield _case(f"{fault}: refused", lambda url=url: _check_refused(work, [url]))
                yield _case(f"{fault}: the next is asked", lambda url=url: _check_fetched(work, [url, good]))
            for fault in DAMAGES:
                yield _case(f"a file {fault}", lambda fault=fault: _check_repaired(work, DAMAGES[fault], good))
            yield _case("4 processes at once", lambda: _check_one_download(work, site))
            yield _case("lock of a killed process", lambda: _check_lock_is_free(work, good))
            yield _case("a folder without write permission", lambda: _check_permission_denied(work, good))
        finally:
            site.close()


def _case(fault: str, check: Callable[[], str]) -> Case:
    begin = time.monotonic()
    return Case("data", fault, check(), time.monotonic() - begin, limit=60)


@contextmanager
def _data_folder(work: Path) -> Iterator[Path]:
    folder = work / "data"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _check_refused(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        try:
            datasets.fetch("mnist", folder, urls)
        except Unreachable as error:
            return "" if not folder.exists() and "\n" not in str(error) else "left something behind"
        return "was accepted"


def _check_fetched(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        datasets.fetch("mnist", folder, urls)
        return _difference(folder, work / "mirror")


def _check_repaired(work: Path, damage: Callable[[bytes], bytes], url: str) -> str:
    with _data_folder(work) as folder:
        datasets.fetch("mnist", folder, [url])
        raw = folder / "MNIST" / "raw"
        (raw / FILES[0]).write_bytes(damage((raw / FILES[0]).read_bytes()))
        (raw / TEMPORARY).write_bytes(b"half")
        if datasets.is_complete("mnist", folder):
            return "was not noticed"
        datasets.fetch("mnist", folder, [url])
        return _difference(folder, work / "mirror")


def _check_one_download(work: Path, site: Site) -> str:
    site.asked.clear()
    with _data_folder(work) as folder:
        processes = [FORK.Process(target=datasets.fetch, args=("mnist", folder, [site.url("good")])) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        if [name for _, name in site.asked] != FILES or any(process.exitcode != 0 for process in processes):
            return f"asked for {site.asked}"
        return _difference(folder, work / "mirror")


def _hold_lock(folder: Path, held: Event) -> None:
    with FileLock(folder / ".lock"):
        held.set()
        time.sleep(120)


def _check_lock_is_free(work: Path, url: str) -> str:
    with _data_folder(work) as folder:
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True)
        held = FORK.Event()
        holder = FORK.Process(target=_hold_lock, args=(raw, held))
        holder.start()
        held.wait(30)
        holder.kill()
        holder.join()
        datasets.fetch("mnist", folder, [url])
        return _difference(folder, work / "mirror")


def _check_permission_denied(work: Path, url: str) -> str:
    with _data_folder(work) as folder:
        folder.mkdir(mode=0o555)
        answers = FORK.Queue()
        process = FORK.Process(target=_fetch_as_nobody, args=(folder, url, answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join()
        return "" if "cannot be written: Permission denied" in answer else answer


def _fetch_as_nobody(folder: Path, url: str, answers: "Queue[str]") -> None:
    if os.getuid() == 0:  # root may write everywhere
        os.setuid(65534)
    try:
        datasets.fetch("mnist", folder, [url])
        answers.put("was written")
    except InputError as error:
        answers.put(str(error))


def _difference(folder: Path, mirror: Path) -> str:
    """Describe how the data folder differs from the mirror's files; nothing if it does not."""
    raw = folder / "MNIST" / "raw"
    if others := {entry.name for entry in raw.iterdir()} - {*FILES, ".lock"}:
        return f"left {others}"
    different = [name for name in FILES if (raw / name).read_bytes() != (mirror / name).read_bytes()]
    return f"{different} differ" if different else ""
