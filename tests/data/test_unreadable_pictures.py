"""Files that are no picture of a digit are refused in one line."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_cnn.data import pictures
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.pictures import read_picture
from mnist_cnn.errors import InputError
from tests.data.test_pictures import draw
from tests.faults import pictures as faults


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is not a picture"),
        (b"hello", "is not a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is not .* give one of PNG, JPEG, GIF, WEBP, TIFF, BMP"),
        (b"P1 1 1 1", "is not a picture"),  # a PPM of comments takes minutes
        (b"\x89PNG\r\n\x1a\n", "is not a picture"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(InputError, match=f"bad.png {message}"):
        read_picture(tmp_path / "bad.png")


def test_nan_is_refused(read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="contains NaN"):
        read(Image.fromarray(np.full((30, 30), np.nan, dtype=np.float32)), "nan.tiff")


def test_negative_values_are_blank(read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="is blank"):
        read(Image.fromarray(np.full((28, 28), -5, dtype=np.float32)), "negative.tiff")


def test_a_truncated_picture_is_refused(sample: Dataset, tmp_path: Path) -> None:
    Image.fromarray(draw(sample.test.images[0, 0])).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:600])
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_picture(tmp_path / "cut.png")


def test_a_damaged_tiff_is_refused(sample: Dataset, read: Callable[..., torch.Tensor], tmp_path: Path) -> None:
    read(Image.fromarray(draw(sample.test.images[0, 0])), "whole.tiff", compression="tiff_deflate")
    content = (tmp_path / "whole.tiff").read_bytes()
    (tmp_path / "damaged.tiff").write_bytes(content.replace(b"\x78\x9c", b"\0\0"))
    with pytest.raises(InputError, match="is not a picture that can be read"):
        read_picture(tmp_path / "damaged.tiff")


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_refused(size: tuple[int, int], level: int, read: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(InputError, match="is blank"):
        read(Image.new("L", size, level))


def test_paper_alone_is_blank(read: Callable[..., torch.Tensor]) -> None:
    noise = np.random.default_rng(0).normal(200, 8, (260, 200)).clip(0, 255).astype(np.uint8)
    with pytest.raises(InputError, match="is blank"):
        read(Image.fromarray(noise))


@pytest.mark.parametrize("bits", [8, 16])
def test_ink_must_differ_from_the_paper_by_12_grey_levels(
    bits: int, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    def read_ink(levels: int) -> torch.Tensor:
        sheet = draw(sample.test.images[0, 0], ink=levels)
        return read(Image.fromarray(sheet if bits == 8 else sheet.astype(np.uint16) * 257))

    assert read_ink(16).max() == 255
    with pytest.raises(InputError, match="is blank"):
        read_ink(8)


def test_a_picture_of_too_many_pixels_is_refused(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., torch.Tensor]
) -> None:
    monkeypatch.setattr(pictures, "_MOST_PIXELS", 100 * 100)
    with pytest.raises(InputError, match="is blank"):
        read(Image.new("L", (100, 100)))
    with pytest.raises(InputError, match="is too large: a picture may have 10,000 pixels"):
        read(Image.new("L", (100, 101)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)  # PIL itself refuses more than twice as many
    with pytest.raises(InputError, match="is too large"):
        read(Image.new("L", (100, 100)))


def test_a_corner_of_a_tile_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    for width, height in ((7_072, 7_072), (2**31, 16)):
        (tmp_path / "tile.tiff").write_bytes(faults.tiled_tiff(width, height, b""))
        with pytest.raises(InputError, match="is too large"):
            read_picture(tmp_path / "tile.tiff")


def test_a_jpeg_of_too_many_scans_is_refused(tmp_path: Path) -> None:
    """Each costs as much time as decoding the picture once, and few bytes where it changes nothing."""
    jpeg = io.BytesIO()
    Image.new("L", (1000, 1000)).save(jpeg, "JPEG", progressive=True)  # of 6 scans
    for count, message in ((1494, "is blank"), (1495, "it has 1,501 scans of 1,000,000 pixels")):
        (tmp_path / "scans.jpg").write_bytes(faults.repeat_scan(jpeg.getvalue(), count))
        with pytest.raises(InputError, match=message):
            read_picture(tmp_path / "scans.jpg")


def test_a_bmp_of_too_many_runs_is_refused(tmp_path: Path) -> None:
    for width, message in ((1000, "not enough image data"), (1001, "it has 1,001,000 pixels in runs")):
        (tmp_path / "runs.bmp").write_bytes(faults.run_length_bmp(width, 1000, b""))
        with pytest.raises(InputError, match=message):
            read_picture(tmp_path / "runs.bmp")


@pytest.mark.parametrize("name", ["photo.png", "photo.webp"])
def test_exif_data_of_more_than_256_kib_is_refused(
    name: str, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    upright = Image.fromarray(draw(sample.test.images[500, 0]))
    photo, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    longest, longer = exif.tobytes().ljust(260_000, b"\0"), exif.tobytes().ljust(265_000, b"\0")
    assert torch.equal(read(photo, name, lossless=True, exif=longest), read(upright))
    with pytest.raises(InputError, match="its EXIF data has more than 262,144 bytes"):
        read(photo, name, lossless=True, exif=longer)


def test_exif_data_behind_the_pixels_is_refused_too(tmp_path: Path) -> None:
    png, exif = faults.png(28, 28, None), b"eXIf" + bytes(265_000)
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    (tmp_path / "photo.png").write_bytes(png[:-12] + chunk + png[-12:])  # the last chunk has 12 bytes
    with pytest.raises(InputError, match="its EXIF data has more than 262,144 bytes"):
        read_picture(tmp_path / "photo.png")
