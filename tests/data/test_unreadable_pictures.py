"""Files that are no picture of a digit: one line each, and no word from a library."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.pictures import read_picture
from mnist_cnn.errors import InputError
from tests.data.test_pictures import page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is not a picture"),
        (b"hello", "is not a picture"),
        (b"\x89PNG\r\n\x1a\n", "is not a picture"),
    ],
)
def test_a_file_that_is_no_picture_is_said(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=f"bad.png {message}"):
        read_picture(tmp_path / "bad.png")


def test_values_that_are_no_numbers_are_said(read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="values that are no numbers"):
        read(Image.fromarray(np.full((30, 30), np.nan, dtype=np.float32)), "nan.tiff")


def test_values_below_nought_are_no_crash(read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="is blank"):
        read(Image.fromarray(np.full((28, 28), -5, dtype=np.float32)), "negative.tiff")


def test_a_truncated_picture_is_said(sample: Dataset, tmp_path: Path) -> None:
    Image.fromarray(page(sample.test.images[0, 0])).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:600])
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_picture(tmp_path / "cut.png")


def test_threads_read_what_one_reads_and_leave_stderr_and_warnings_alone(
    sample: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, damaged = tmp_path / "whole.tiff", tmp_path / "damaged.tiff"
    Image.fromarray(page(sample.test.images[0, 0])).save(whole, compression="tiff_deflate")
    damaged.write_bytes(whole.read_bytes().replace(b"\x78\x9c", b"\0\0"))  # of this libtiff writes a line of its own
    expected, filters = read_picture(whole), warnings.filters[:]

    def read_either(number: int) -> torch.Tensor | None:
        with suppress(InputError):
            return read_picture(damaged if number % 2 else whole)
        return None

    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(read_either, range(100)))
    os.write(2, b"stderr is here")
    assert capfd.readouterr().err == "stderr is here"
    assert warnings.filters == filters
    assert all(picture is not None and torch.equal(picture, expected) for picture in pictures[::2])
    assert pictures[1::2] == [None] * 50


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_said(size: tuple[int, int], level: int, read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="is blank"):
        read(Image.new("L", size, level))


def test_paper_alone_is_blank(read: Callable[..., torch.Tensor]) -> None:
    noise = np.random.default_rng(0).normal(220, 3, (260, 200)).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match="is blank"):
        read(Image.fromarray(noise))


@pytest.mark.parametrize("pixels", [1.5, 3.0])  # PIL warns of the one and raises at the other
def test_a_decompression_bomb_is_refused(
    pixels: float, monkeypatch: pytest.MonkeyPatch, read: Callable[..., torch.Tensor]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(100 * 100 / pixels))
    with pytest.raises(InputError, match="is too large"):
        read(Image.new("L", (100, 100)))
