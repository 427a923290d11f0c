"""A server that misbehaves in every way, and a small MNIST that it serves."""

import gzip
import http.server
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
import torchvision

from mnist_cnn.data import datasets
from mnist_cnn.data.download import md5

FILES = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
PAGE = b"<html>Sign in to use this network</html>"


@contextmanager
def small_mnist(folder: Path, mirror: str = "http://127.0.0.1:9/") -> Iterator[None]:
    """Write the sample into `folder` as MNIST's four files; inside, torchvision lists these, and `mirror` alone."""
    sample = datasets.sample()
    folder.mkdir(parents=True)
    parts = (sample.train.images[:, 0], sample.train.labels, sample.test.images[:, 0], sample.test.labels)
    for name, values in zip(FILES, parts, strict=True):
        (folder / name).write_bytes(gzip.compress(to_idx(values), 1))
    resources = [(name, md5((folder / name).read_bytes())) for name in FILES]
    with mock.patch.multiple(torchvision.datasets.MNIST, mirrors=[mirror], resources=resources):
        yield


def to_idx(values: torch.Tensor) -> bytes:
    """Return bytes in MNIST's file format IDX."""
    shape = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.to(torch.uint8).numpy().tobytes()


class Site:
    """An http server on this machine, with a folder for each way to behave: `url("404")`, `url("good")`.

    `asked` lists the requests, as (way, name of the file).
    """

    def __init__(self, files: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        self.closing = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                way, name = urllib.parse.unquote(self.path).split("/")[1:]
                site.asked.append((way, name))
                WAYS[way](self, (files / name).read_bytes(), site.closing)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # the client has closed the connection

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

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
        if closing.wait(0.05):
            break


def _loop(handler: Handler, *_: object) -> None:
    _answer(handler, 302, b"", Location=handler.path)


def flip_bit(content: bytes) -> bytes:
    """Return `content` with one bit flipped in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


WAYS: Mapping[str, Callable[[Handler, bytes, threading.Event], None]] = {
    "good": lambda handler, body, _: _answer(handler, 200, body),
    "HTML with status 200": lambda handler, body, _: _answer(handler, 200, PAGE),
    "403": lambda handler, body, _: _answer(handler, 403, PAGE),
    "404": lambda handler, body, _: _answer(handler, 404, PAGE),
    "503": lambda handler, body, _: _answer(handler, 503, b"later"),
    "truncated": lambda handler, body, _: _answer(handler, 200, body[: len(body) // 2], len(body)),
    "truncated, with a matching length": lambda handler, body, _: _answer(handler, 200, body[: len(body) // 2]),
    "one bit flipped": lambda handler, body, _: _answer(handler, 200, flip_bit(body)),
    "a length that is no number": lambda handler, body, _: _answer(handler, 200, body, "many"),
    "connection reset half-way": _reset,
    "never answers": lambda handler, body, closing: closing.wait(120) and None,
    "20 bytes per second": _drip,
    "not HTTP": lambda handler, body, _: handler.wfile.write(b"SSH-2.0\r\n") and None,
    "redirects to itself": _loop,
    "redirects to a file": lambda handler, body, _: _answer(handler, 302, b"", Location="file:///etc/passwd"),
}
BAD_WAYS = [way for way in WAYS if way != "good"]
BAD_URLS = {
    "nobody listens": "http://127.0.0.1:9/",
    "no such host": "http://mnist.invalid/",
    "a folder that does not exist": "file:///nowhere/",
}
