"""A server that misbehaves in every way, and folders whose files are not what they should be."""

import gzip
import hashlib
import http.server
import multiprocessing
import os
import shutil
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from types import SimpleNamespace

import torch
from filelock import FileLock

from benchmarks.faults import Case
from mnist_cnn import sources
from mnist_cnn.errors import InputError

FORK = multiprocessing.get_context("fork")  # processes that know of `small_mnist`
FILES = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
PAGE = b"<html>Sign in to use this network</html>"


@contextmanager
def small_mnist(folder: Path) -> Iterator[None]:
    """Write the sample as MNIST's four files into `folder`; within, torchvision's list names these, and no mirror."""
    sample = sources.sample()
    folder.mkdir(parents=True)
    parts = (sample.train.images[:, 0], sample.train.labels, sample.test.images[:, 0], sample.test.labels)
    for name, values in zip(FILES, parts, strict=True):
        (folder / name).write_bytes(gzip.compress(idx(values)))
    resources = [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name in FILES]  # noqa: S324
    listed = sources._family
    sources._family = lambda _: SimpleNamespace(mirrors=[], resources=resources)
    try:
        yield
    finally:
        sources._family = listed


def idx(values: torch.Tensor) -> bytes:
    """Write bytes in MNIST's file format."""
    shape = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.to(torch.uint8).numpy().tobytes()


class Site:
    """An http server on this machine, with a folder for each way to behave: `url("404")`, `url("good")`.

    `asked` lists the names of the files that were asked for.
    """

    def __init__(self, files: Path) -> None:
        self.asked: list[str] = []
        self.closing = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                way, name = urllib.parse.unquote(self.path).split("/")[1:]
                site.asked.append(name)
                WAYS[way](self, (files / name).read_bytes(), site.closing)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:  # who asked has gone
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{urllib.parse.quote(way)}/"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


Handler = http.server.BaseHTTPRequestHandler


def _answer(handler: Handler, status: int, body: bytes, length: object = None, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _reset(handler: Handler, body: bytes, _: threading.Event) -> None:
    _answer(handler, 200, body[: len(body) // 2], len(body))
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _drip(handler: Handler, body: bytes, closing: threading.Event) -> None:
    _answer(handler, 200, b"", len(body))
    for number in range(len(body)):
        handler.wfile.write(body[number : number + 1])
        handler.wfile.flush()
        if closing.wait(0.5):
            break


def _loop(handler: Handler, *_: object) -> None:
    _answer(handler, 302, b"", Location=handler.path)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


WAYS: Mapping[str, Callable[[Handler, bytes, threading.Event], None]] = {
    "good": lambda handler, body, _: _answer(handler, 200, body),
    "HTML with status 200": lambda handler, body, _: _answer(handler, 200, PAGE),
    "403": lambda handler, body, _: _answer(handler, 403, PAGE),
    "404": lambda handler, body, _: _answer(handler, 404, PAGE),
    "503": lambda handler, body, _: _answer(handler, 503, b"later"),
    "truncated": lambda handler, body, _: _answer(handler, 200, body[: len(body) // 2], len(body)),
    "truncated, and says so": lambda handler, body, _: _answer(handler, 200, body[: len(body) // 2]),
    "one bit flipped": lambda handler, body, _: _answer(handler, 200, _flipped(body)),
    "a length that is none": lambda handler, body, _: _answer(handler, 200, body, "many"),
    "connection reset half-way": _reset,
    "never answers": lambda handler, body, closing: closing.wait(120) and None,
    "two bytes a second": _drip,
    "redirects to itself": _loop,
    "redirects to a file": lambda handler, body, _: _answer(handler, 302, b"", Location="file:///etc/passwd"),
}
BAD_WAYS = [way for way in WAYS if way != "good"]
BAD_URLS = {
    "nobody listens": "http://127.0.0.1:9/",
    "no such host": "http://mnist.invalid/",
    "a folder that is not there": "file:///nowhere/",
}


DAMAGES: Mapping[str, tuple[str, Callable[[bytes], bytes | None]]] = {  # file, and what becomes of it
    "archive truncated": ("train-images-idx3-ubyte.gz", lambda content: content[:1000]),
    "archive of another MD5": (
        "train-images-idx3-ubyte.gz",
        lambda content: gzip.compress(gzip.decompress(content), 1),
    ),
    "archive gone": ("train-images-idx3-ubyte.gz", lambda content: None),
    "extracted file truncated": ("train-images-idx3-ubyte", lambda content: content[:1000]),
    "extracted file with a bit flipped": ("train-images-idx3-ubyte", _flipped),
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
    said = wrong()
    seconds = time.monotonic() - begin
    return Case("data", fault, said or ("took more than 60 s" if seconds > 60 else ""), seconds)


@contextmanager
def _data_folder(work: Path) -> Iterator[Path]:
    folder = work / "data"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _is_refused(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        try:
            sources.fetch("mnist", folder, urls)
        except sources.Unreachable as error:
            return "" if not folder.exists() and "\n" not in str(error) else "left something behind"
        return "was taken"


def _is_healed(work: Path, urls: list[str]) -> str:
    with _data_folder(work) as folder:
        sources.fetch("mnist", folder, urls)
        return _differs(folder, work / "mirror")


def _is_mended(work: Path, fault: str, url: str) -> str:
    name, damage = DAMAGES[fault]
    with _data_folder(work) as folder:
        sources.fetch("mnist", folder, [url])
        file = folder / "MNIST" / "raw" / name
        content = damage(file.read_bytes() if file.exists() else b"")
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        if not name.startswith(".") and sources.is_complete("mnist", folder):
            return "was not noticed"
        sources.fetch("mnist", folder, [url])
        return _differs(folder, work / "mirror")


def _are_one_download(work: Path, site: Site) -> str:
    site.asked.clear()
    with _data_folder(work) as folder:
        processes = [FORK.Process(target=sources.fetch, args=("mnist", folder, [site.url("good")])) for _ in range(4)]
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
        sources.fetch("mnist", folder, [url])
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
        sources.fetch("mnist", folder, [url])
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
