"""Download a file from the first mirror that has it, with limits on time and size, and check its MD5."""

import hashlib
import http.client
import logging
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress

from mnist_cnn.errors import InputError

log = logging.getLogger(__name__)

_TIMEOUT = 10.0  # seconds, to connect and for each read
_SLOWEST = 5_000  # bytes per second after the first 20 seconds: half an hour for MNIST's largest file
_LARGEST = 64 * 2**20  # bytes; the largest file of the family has 18 MB


class Unreachable(InputError):
    """No mirror has the file."""


def download(name: str, digest: str, mirrors: Sequence[str]) -> bytes:
    """Return the file from the first mirror, a URL or a folder, that has it with this MD5.

    Raises Unreachable, with a reason for each mirror, if none has it.
    """
    reasons = []
    for mirror in dict.fromkeys(mirrors):
        folder = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
        url = f"{folder.rstrip('/')}/{name}"
        try:
            content = _get(url)
            if md5(content) == digest:
                return content
            reason = f"its {len(content):,} bytes do not have the MD5 that torchvision lists"
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        reasons.append(f"{url}: {reason}")
    raise Unreachable(f"{name} could not be fetched: {'; '.join(reasons)}")


def _get(url: str) -> bytes:
    log.info("fetching %s", url)
    console, begin, content = Console(stderr=True), time.monotonic(), bytearray()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT) as response,  # noqa: S310 - the user chose the mirrors
        Progress(BarColumn(), DownloadColumn(), console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("", total=int(response.headers.get("Content-Length") or 0) or None)
        while part := response.read1(2**16):  # `read` would wait for all 64 KiB
            content += part
            bar.update(task, completed=len(content))
            seconds = time.monotonic() - begin
            if seconds > 2 * _TIMEOUT and len(content) < _SLOWEST * seconds:
                raise TimeoutError(f"it sends fewer than {_SLOWEST:,} bytes per second")
            if len(content) > _LARGEST:
                raise ValueError(f"it sends more than {_LARGEST:,} bytes")
    return bytes(content)


def md5(content: bytes) -> str:
    """Return the MD5 of a file, which detects damage, not forgery."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
