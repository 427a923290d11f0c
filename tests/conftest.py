"""What several test files share: the embedded sample, a trained run, a command line in this process."""

import logging
import os
import shutil
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import absl.logging
import pytest
import torch
from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mnist_cnn import signals
from mnist_cnn.cli import run_command
from mnist_cnn.data import datasets
from mnist_cnn.data.pictures import read_picture
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train

torch.set_num_threads(1)  # the tests run in several processes
os.environ["OMP_NUM_THREADS"] = "1"  # and so do the processes that they start
os.environ["KERAS_BACKEND"], os.environ["KERAS_TORCH_DEVICE"] = "torch", "cpu"
# Keras logs by absl, which took pytest's capture for its stream, and would close it when Hydra sets up logging
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, forks, links or device files, as POSIX has them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def sample() -> datasets.Dataset:
    return datasets.sample()


class Trained(NamedTuple):
    path: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The notebook's recipe on the sample: 5 epochs of 63 steps."""
    several = os.environ.get("PYTEST_XDIST_WORKER")  # the first process of several trains, the others read
    root = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()
    with FileLock(root / "trained.lock"):
        return Trained(root / "trained", train(compose("data.name=sample", "trainer=cpu"), Run(root / "trained")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Playwright keeps an event loop running, which other modules' tests must not meet."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file of the notebook's kind, with weights of float32."""
    from tests.keras.models import build, random_weights  # Keras takes its time

    file = tmp_path_factory.mktemp("keras") / "digits.keras"
    random_weights(build()).save(file)
    return file


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of MNIST; the test is skipped where there is none to be had."""
    if folder := os.environ.get("MNIST_CNN_DATA"):
        return Path(folder)
    if mirror := os.environ.get("MNIST_CNN_MIRROR"):
        folder = tmp_path_factory.mktemp("mnist")
        datasets.fetch("mnist", folder, [mirror])
        return folder
    pytest.skip("needs all of MNIST: set MNIST_CNN_DATA or MNIST_CNN_MIRROR")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No mirror on the internet answers."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    yield
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # else the proxies stay


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Call a command's main function as its module would, and return what a shell would see."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    on_signal = {number: signal.getsignal(number) for number in signals.SIGNALS}

    def reset() -> None:  # Hydra configures logging for the process
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:], root.level = handlers, level
        for number, handler in on_signal.items():
            signal.signal(number, handler)

    def call(main: Callable[[], Any], *arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run_command(main)
        reset()
        return Answer(int(end.value.code or 0), *capsys.readouterr())

    return call


def one_line(text: str) -> str:
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., torch.Tensor]:
    def save_and_read(image: Image.Image, name: str = "picture.png", **options: object) -> torch.Tensor:
        image.save(tmp_path / name, **options)
        return read_picture(tmp_path / name)

    return save_and_read
