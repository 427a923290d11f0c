"""The page in headless Chromium, opened as a file, without a network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from mnist_cnn.page import write_page
from tests.conftest import Trained
from tests.live.hand import draw

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def file(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("run") / "digits.ckpt"
    shutil.copy(trained.path / "checkpoints" / "last.ckpt", copy)
    return write_page(copy)


@pytest.fixture(params=SIZES)
def page(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The open page on each screen."""
    with opened(browser, file, request.param) as page:
        yield page


@pytest.fixture
def desktop(browser: Browser, file: Path) -> Iterator[Page]:
    """The open page, where the screen makes no difference."""
    with opened(browser, file, "desktop") as page:
        yield page


@contextmanager
def opened(browser: Browser, file: Path, size: str) -> Iterator[Page]:
    """The open page; it must make no request and leave nothing in the console."""
    context = browser.new_context(viewport=SIZES[size], has_touch=size == "phone", offline=True)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda asked: noise.append(asked.url) if not asked.url.startswith(file.as_uri()) else None)
    page.goto(file.as_uri())
    draw(page, [])  # waits for the next frame
    yield page
    context.close()
    assert noise == []
