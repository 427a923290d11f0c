"""Files from mirrors, verified: each by its MD5, from the first mirror that has it, in bounded time and size."""

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress

from mnist_cnn.errors import InputError

log = logging.getLogger(__name__)

_TIMEOUT = 10.0  # seconds, to connect and for each read
_SLOWEST = 5_000  # bytes a second, once it has had its time: MNIST's largest file then takes half an hour
_LARGEST = 64 * 2**20  # bytes; the largest archive of the family has 18 MB


class Unreachable(InputError):
    """No source gave a file that verifies."""


def checked_mirrors(mirrors: object) -> list[str]:
    """Return mirrors as a list; one may stand alone. Raises InputError unless all are http, https or file URLs."""
    listed = [mirrors] if isinstance(mirrors, str) else mirrors
    if not isinstance(listed, Sequence) or not all(_is_url(mirror) for mirror in listed):
        raise InputError(f"data.mirrors={mirrors} cannot be used: give http, https or file URLs of folders")
    return list(listed)


def _is_url(mirror: object) -> bool:
    try:
        return isinstance(mirror, str) and mirror.isascii() and urlsplit(mirror).scheme in {"http", "https", "file"}
    except ValueError:
        return False


def download(name: str, digest: str, mirrors: Sequence[str], dead: dict[str, str]) -> bytes:
    """Return the file of that MD5 from the first mirror that has it; `dead` collects mirrors not to ask again.

    Raises Unreachable, with each mirror's reason, if none has.
    """
    reasons = []
    for mirror in dict.fromkeys(mirrors):
        url = mirror.rstrip("/") + "/" + name
        if mirror not in dead:
            try:
                content = _get(url)
            except urllib.error.HTTPError as error:
                reasons.append(f"{url}: {error}")
            except (OSError, ValueError, http.client.HTTPException) as error:
                dead[mirror] = str(getattr(error, "reason", error))
            else:
                if md5(content) == digest:
                    return content
                reasons.append(f"{url}: not the file that torchvision lists (its MD5 differs)")
        if mirror in dead:
            reasons.append(f"{url}: {dead[mirror]}")
    raise Unreachable(f"{name} could not be fetched: {'; '.join(reasons)}")


def _get(url: str) -> bytes:
    log.info("fetching %s", url)
    console = Console(stderr=True)
    begin, content = time.monotonic(), bytearray()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT) as response,  # noqa: S310 - schemes were checked
        Progress(BarColumn(), DownloadColumn(), console=console, disable=not console.is_terminal) as bar,
    ):
        total = int(response.headers.get("Content-Length") or 0)
        task = bar.add_task("", total=total or None)
        while part := response.read1(2**16):
            content += part
            bar.update(task, completed=len(content))
            seconds = time.monotonic() - begin
            if seconds > 2 * _TIMEOUT and len(content) < _SLOWEST * seconds:
                raise TimeoutError(f"it sends fewer than {_SLOWEST:,} bytes a second")
            if len(content) > _LARGEST:
                raise ValueError(f"it sends more than {_LARGEST:,} bytes")
    if len(content) < total:
        raise http.client.IncompleteRead(bytes(content), total - len(content))
    return bytes(content)


def md5(content: bytes) -> str:
    """Return the MD5, by which torchvision lists files: against damage, not against forgery."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
