import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from mnist_cnn.data.box import crop_to_strokes
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.pictures import read_picture
from tests.faults import pictures as faults


def draw(digit: torch.Tensor, side: int = 140, paper: int = 235, ink: int = 200) -> NDArray[np.uint8]:
    """Draw a digit dark on light, 200x260, off centre."""
    drawn = np.asarray(Image.fromarray(digit.numpy()).resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    sheet = np.full((260, 200), float(paper))
    sheet[100 : 100 + side, 15 : 15 + side] -= drawn / 255 * ink
    return sheet.clip(0, 255).astype(np.uint8)


def test_mnists_own_form_does_not_change_by_a_byte(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    for digit in sample.test.images[::10, 0]:
        assert torch.equal(read(Image.fromarray(digit.numpy())), digit)


def test_a_digit_of_19_pixels_has_mnists_form_too(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    digit = sample.test.images[0, 0].clone()
    digit[digit.any(dim=1).nonzero()[0]] = 0  # its first row of ink
    assert digit.any(dim=1).sum() == 19
    assert torch.equal(read(Image.fromarray(digit.numpy())), digit)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_mnists_own_form_does_not_change_in_colour(
    mode: str, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    digit = sample.test.images[0, 0]
    assert torch.equal(read(Image.fromarray(digit.numpy()).convert(mode)), digit)


def test_digits_drawn_dark_on_light_are_recognised(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    def nearest_labels(images: torch.Tensor) -> torch.Tensor:
        distances = torch.cdist(images.flatten(1).float(), sample.train.images.flatten(1).float())
        return sample.train.labels[distances.argmin(dim=1)]

    digits = sample.test.images[::10, 0]
    drawn = torch.stack([read(Image.fromarray(draw(digit)), "page.jpg", quality=80) for digit in digits])
    agreement = (nearest_labels(drawn) == nearest_labels(digits)).float().mean()
    assert agreement >= 0.96  # 100 images


def dark_strokes(sheet: NDArray[np.uint8]) -> Image.Image:
    """Dark strokes alone; the paper is transparent."""
    rgba = np.zeros((*sheet.shape, 4), dtype=np.uint8)
    rgba[..., 3] = ImageOps.invert(Image.fromarray(sheet))
    return Image.fromarray(rgba)


def lit_from_one_side(sheet: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray((sheet * np.linspace(0.6, 1, sheet.shape[1])).astype(np.uint8))


def with_specks(sheet: NDArray[np.uint8]) -> Image.Image:
    dusty = sheet.copy()
    dusty[5:8, 5:8] = dusty[250:252, 190:193] = 40
    return Image.fromarray(dusty)


def with_round_corners(sheet: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(sheet).convert("RGBA")
    alpha = Image.new("L", image.size, 0)
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, image.width, image.height), 40, fill=255)
    image.putalpha(alpha)
    return image


def on_a_transparent_margin(sheet: NDArray[np.uint8]) -> Image.Image:
    image = Image.new("RGBA", (300, 360))
    image.paste(Image.fromarray(sheet).convert("RGBA"), (50, 50))
    return image


def on_a_table(sheet: NDArray[np.uint8]) -> Image.Image:
    table = Image.new("L", (300, 360), 60)
    table.paste(Image.fromarray(sheet), (50, 50))
    return table


def with_a_dark_edge(sheet: NDArray[np.uint8]) -> Image.Image:
    scan = sheet.copy()
    scan[:, :8] = 60
    return Image.fromarray(scan)


def in_a_frame(sheet: NDArray[np.uint8]) -> Image.Image:
    return ImageOps.expand(Image.fromarray(sheet), 4, fill=0)


VARIANTS: dict[str, Callable[[NDArray[np.uint8]], Image.Image]] = {
    "light on dark": lambda sheet: ImageOps.invert(Image.fromarray(sheet)),
    "colour": lambda sheet: Image.fromarray(sheet).convert("RGB"),
    "palette": lambda sheet: Image.fromarray(sheet).convert("P"),
    "black and white": lambda sheet: Image.fromarray(sheet).convert("1", dither=Image.Dither.NONE),
    "16 bit": lambda sheet: Image.fromarray(sheet.astype(np.uint16) * 257),
    "transparent, dark strokes": dark_strokes,
    "transparent, light strokes": lambda sheet: Image.merge(
        "RGBA", [Image.new("L", sheet.shape[::-1], 255)] * 3 + [ImageOps.invert(Image.fromarray(sheet))]
    ),
    "transparent corners": with_round_corners,
    "transparent margin": on_a_transparent_margin,
    "large": lambda sheet: Image.fromarray(sheet).resize((1000, 1300)),
    "faint": lambda sheet: Image.fromarray((180 + sheet / 6).astype(np.uint8)),
    "lit from one side": lit_from_one_side,
    "with specks": with_specks,
    "on a table": on_a_table,
    "with a dark edge": with_a_dark_edge,
    "in a frame": in_a_frame,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_digit_becomes_the_same_however_it_is_drawn(
    variant: str, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    for digit in sample.test.images[::200, 0]:
        sheet = draw(digit, paper=255, ink=255)
        plain, other = read(Image.fromarray(sheet)), read(VARIANTS[variant](sheet))
        assert distance(plain, other) < 12


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the mean difference of grey levels; rounding may shift the digit by one pixel."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min((a.float() - b.float().roll(shift, (0, 1))).abs().mean().item() for shift in shifts)


def test_different_digits_are_further_apart(sample: Dataset) -> None:
    digits = sample.test.images[::100, 0]
    assert min(distance(a, b) for i, a in enumerate(digits) for b in digits[:i]) > 20


def test_a_rotated_photo_is_turned_upright(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    upright = Image.fromarray(draw(sample.test.images[500, 0]))
    photo = upright.transpose(Image.Transpose.ROTATE_90)
    exif = photo.getexif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    assert torch.equal(read(photo, exif=exif), read(upright))


@pytest.mark.parametrize("name", ["digit.png", "digit.webp", "digit.tiff", "digit.gif", "digit.bmp"])
def test_every_lossless_format_gives_the_same(name: str, sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    image = Image.fromarray(draw(sample.test.images[300, 0]))
    options = {"lossless": True} if name.endswith("webp") else {}
    assert torch.equal(read(image, name, **options), read(image))


@pytest.mark.parametrize("kind", faults.MANY_FRAMES)
def test_of_several_frames_the_first_is_read(kind: str, read: Callable[..., torch.Tensor], tmp_path: Path) -> None:
    (tmp_path / "frames").write_bytes(faults.of_frames(kind))
    single = read(Image.fromarray(faults.page()), "page.jpg" if kind == "MPO" else "page.png")
    assert torch.equal(read_picture(tmp_path / "frames"), single)


def test_an_mpo_with_a_wrong_directory_is_read_as_a_jpeg(read: Callable[..., torch.Tensor], tmp_path: Path) -> None:
    (tmp_path / "frames.mpo").write_bytes(faults.miscounted_mpo())
    assert torch.equal(read_picture(tmp_path / "frames.mpo"), read(Image.fromarray(faults.page()), "page.jpg"))


def test_a_tile_may_be_larger_than_the_picture(read: Callable[..., torch.Tensor], tmp_path: Path) -> None:
    tile = np.pad(faults.page(), ((0, 8), (0, 6)), constant_values=20)
    (tmp_path / "tile.tiff").write_bytes(faults.tiled_tiff(96, 128, zlib.compress(tile.tobytes())))
    assert torch.equal(read_picture(tmp_path / "tile.tiff"), read(Image.fromarray(faults.page())))


@pytest.mark.parametrize("greatest", [1, 255, 65_535])
def test_floats_may_be_fractions_or_8_or_16_bits(
    greatest: int, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    digit = sample.test.images[300, 0].numpy()
    assert np.array_equal(read(Image.fromarray(np.float32(digit / 255 * greatest)), "digit.tiff"), digit)


def test_a_filled_box_without_ink_inside_is_read_as_a_box(read: Callable[..., torch.Tensor]) -> None:
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).rectangle((30, 30, 169, 169), fill=0)
    box = torch.zeros(28, 28, dtype=torch.uint8)
    box[4:24, 4:24] = 255
    assert torch.equal(read(image), box)


def test_strokes_along_a_side_stay_if_there_are_no_others() -> None:
    ink = np.zeros((40, 40), dtype=np.float32)
    ink[:2] = 1  # the edge of a table
    ink[5:38, :3] = ink[18:22, 3:30] = 1  # a T that lies along the left side
    assert crop_to_strokes(ink).shape == (33, 30)


def test_pixels_that_touch_by_a_corner_are_one_stroke() -> None:
    ink = np.zeros((40, 40), dtype=np.float32)
    ink[5:15, 5:15] = np.ones((10, 10))
    for place in range(15, 30):
        ink[place, place] = 1
    assert crop_to_strokes(ink).shape == (25, 25)


def test_a_strip_is_read_as_a_line(read: Callable[..., torch.Tensor]) -> None:
    strip = np.zeros((3, 400), dtype=np.uint8)
    strip[1, 2:-2] = 255
    assert read(Image.fromarray(strip)).any()


def test_the_result_has_mnists_form(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    for digit in sample.test.images[::50, 0]:
        result = read(Image.fromarray(draw(digit))).numpy()
        rows, columns = ndimage.find_objects((result > 0).astype(int))[0]
        assert max(rows.stop - rows.start, columns.stop - columns.start) in (19, 20)
        assert np.abs(np.subtract(ndimage.center_of_mass(result), 14)).max() < 0.6
        assert result.max() == 255
