"""Servers that misbehave, and folders whose files are not what they should be."""

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

from filelock import FileLock

from mnist_cnn.data import datasets
from mnist_cnn.data.download import Unreachable
from mnist_cnn.errors import InputError
from tests.faults import Case
from tests.faults.site import BAD_URLS, BAD_WAYS, FILES, Site, flipped, small_mnist

FORK = multiprocessing.get_context("fork")  # processes that know of `small_mnist`

DAMAGES: Mapping[str, tuple[str, Callable[[bytes], bytes | None]]] = {  # file, and what becomes of it
    "archive truncated": ("train-images-idx3-ubyte.gz", lambda content: content[:1000]),
    "archive of another MD5": (
        "train-images-idx3-ubyte.gz",
        lambda content: gzip.compress(gzip.decompress(content), 1),
    ),
    "archive gone": ("train-images-idx3-ubyte.gz", lambda content: None),
    "extracted file truncated": ("train-images-idx3-ubyte", lambda content: content[:1000]),
    "extracted file with a bit flipped": ("train-images-idx3-ubyte", flipped),
    "extracted file empty": ("t10k-labels-idx1-ubyte", lambda content: b""),
    "extracted file gone": ("train-labels-idx1-ubyte", lambda content: None),
    "a temporary file left behind": (".train-images-idx3-ubyte.gz.4194305.tmp", lambda content: b"half"),
}


def cases(work: Path) -> Iterator[Case]:
    """Make each fault, see that it is refused in a line or healed, and that the images are the right ones."""
    with small_mnist(work / "mirror"):
        site = Site(work / "mirror")
        try:
            for fault, url in {**{way: site.url(way) for way in BAD_WAYS}, **BAD_URLS}.items():
                yield _case(f"{fault}: refused", lambda url=url: _is_refused(work, [url]))
                yield _case(f"{fault}: the next is asked", lambda url=url: _is_healed(work, [url, site.url("good")]))
            for fault in DAMAGES:
                yield _case(fault, lambda fault=fault: _is_mended(work, fault, site.url("good")))
            yield _case("4 processes at once", lambda: _are_one_download(work, site))
            yield _case("lock of a process that was killed", lambda: _is_free(work, site.url("good")))
            yield _case("a folder that may not be written", lambda: _is_said(work, site.url("good")))
        finally:
            site.close()


def _case(fault: str, wrong: Callable[[], str]) -> Case:
    begin = time.monotonic()
    return Case("data", fault, wrong(), time.monotonic() - begin, limit=60)


@contextmanager
def _data_folder(work: Path) -> Iterator[Path]:
    folder = work / "data"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _is_refused(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        try:
            datasets.fetch("mnist", folder, urls)
        except Unreachable as error:
            return "" if not folder.exists() and "\n" not in str(error) else "left something behind"
        return "was taken"


def _is_healed(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        datasets.fetch("mnist", folder, urls)
        return _differs(folder, work / "mirror")


def _is_mended(work: Path, fault: str, url: str) -> str:
    name, damage = DAMAGES[fault]
    with _data_folder(work) as folder:
        datasets.fetch("mnist", folder, [url])
        file = folder / "MNIST" / "raw" / name
        content = damage(file.read_bytes() if file.exists() else b"")
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        if not name.startswith(".") and datasets.is_complete("mnist", folder):
            return "was not noticed"
        datasets.fetch("mnist", folder, [url])
        return _differs(folder, work / "mirror")


def _are_one_download(work: Path, site: Site) -> str:
    site.asked.clear()
    with _data_folder(work) as folder:
        processes = [FORK.Process(target=datasets.fetch, args=("mnist", folder, [site.url("good")])) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        if site.asked != FILES or any(process.exitcode != 0 for process in processes):
            return f"asked for {site.asked}"
        return _differs(folder, work / "mirror")


def _hold_lock(folder: Path, held: Event) -> None:
    with FileLock(folder / ".lock"):
        held.set()
        time.sleep(120)


def _is_free(work: Path, url: str) -> str:
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
        return _differs(folder, work / "mirror")


def _is_said(work: Path, url: str) -> str:
    with _data_folder(work) as folder:
        folder.mkdir(mode=0o555)
        said = FORK.Queue()
        process = FORK.Process(target=_fetch_as_nobody, args=(folder, url, said))
        process.start()
        answer = said.get(timeout=60)
        process.join()
        return "" if "cannot be written: Permission denied" in answer else answer


def _fetch_as_nobody(folder: Path, url: str, said: "Queue[str]") -> None:
    if os.getuid() == 0:  # who may write everywhere
        os.setuid(65534)
    try:
        datasets.fetch("mnist", folder, [url])
        said.put("was written")
    except InputError as error:
        said.put(str(error))


def _differs(folder: Path, mirror: Path) -> str:
    raw = folder / "MNIST" / "raw"
    for name in FILES:
        if (raw / name).read_bytes() != (mirror / name).read_bytes():
            return f"{name} is another"
        if (raw / Path(name).stem).read_bytes() != gzip.decompress((mirror / name).read_bytes()):
            return f"{Path(name).stem} is another"
    others = {entry.name for entry in raw.iterdir()} - {*FILES, *(Path(name).stem for name in FILES), ".lock"}
    return f"left {others}" if others else ""
