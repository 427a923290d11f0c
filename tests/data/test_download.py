import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist_cnn.data import download
from mnist_cnn.data.download import Unreachable
from tests.faults import site

CONTENT = random.Random(0).randbytes(100_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
FAULTS = {  # what the mirror does: the reason that the message gives
    "HTML with status 200": "its 40 bytes do not have the MD5 that torchvision lists",
    "403": "HTTP Error 403: Forbidden",
    "404": "HTTP Error 404: Not Found",
    "503": "HTTP Error 503: Service Unavailable",
    "truncated": "its 50,000 bytes do not have the MD5",
    "truncated, with a matching length": "its 50,000 bytes do not have the MD5",
    "one bit flipped": "its 100,000 bytes do not have the MD5",
    "a length that is no number": "invalid literal for int",
    "connection reset half-way": "Connection reset by peer",
    "never answers": "timed out",
    "20 bytes per second": "it sends fewer than 5,000 bytes per second",
    "not HTTP": "SSH-2.0",
    "redirects to itself": "would lead to an infinite loop",
    "redirects to a file": "is not allowed",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.gz", "b.gz"):
        (tmp_path / name).write_bytes(CONTENT)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[site.Site]:
    server = site.Site(folder)
    yield server
    server.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mirror_that_fails_is_named_with_its_reason(fault: str, server: site.Site) -> None:
    with pytest.raises(Unreachable) as refusal:
        download.download("a.gz", MD5, [server.url(fault)])
    message = str(refusal.value)
    assert message.startswith(f"a.gz could not be fetched: {server.url(fault)}a.gz: ")
    assert FAULTS[fault] in message


def test_every_fault_of_the_server_has_its_reason() -> None:
    assert list(FAULTS) == site.BAD_WAYS


@pytest.mark.parametrize("url", site.BAD_URLS.values())
def test_a_mirror_that_cannot_be_reached_is_refused(url: str) -> None:
    with pytest.raises(Unreachable, match="a.gz could not be fetched: "):
        download.download("a.gz", MD5, [url])


def test_mirrors_are_asked_in_order_until_one_has_the_file(server: site.Site) -> None:
    mirrors = [server.url(way) for way in ("404", "one bit flipped", "good", "503")]
    assert download.download("a.gz", MD5, mirrors) == CONTENT
    assert [way for way, _ in server.asked] == ["404", "one bit flipped", "good"]


def test_if_no_mirror_has_the_file_each_has_its_reason(server: site.Site) -> None:
    with pytest.raises(Unreachable, match="404/a.gz: HTTP Error 404: Not Found; http.*/a.gz: timed out$"):
        download.download("a.gz", MD5, [server.url("404"), server.url("never answers")])


def test_a_mirror_may_be_a_folder_with_or_without_a_slash(folder: Path) -> None:
    for url in (folder.as_uri(), folder.as_uri() + "/"):
        assert download.download("a.gz", MD5, [url]) == CONTENT


def test_a_file_that_is_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_LARGEST", len(CONTENT) - 1)
    with pytest.raises(Unreachable, match="it sends more than 99,999 bytes"):
        download.download("a.gz", MD5, [folder.as_uri()])


@pytest.mark.parametrize("url", ["/data/mnist", "http://[x/", "http://ü/"])
def test_a_mirror_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Unreachable, match="a.gz could not be fetched: "):
        download.download("a.gz", MD5, [url])
