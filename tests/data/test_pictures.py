from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from mnist_cnn import load_classifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.pictures import as_batch, scale
from mnist_cnn.errors import InputError
from tests.conftest import Trained


def page(digit: torch.Tensor, side: int = 140, paper: int = 235, ink: int = 200) -> NDArray[np.uint8]:
    """A digit drawn dark on light, 200x260, off centre."""
    drawn = np.asarray(Image.fromarray(digit.numpy()).resize((side, side), Image.Resampling.BICUBIC)).astype(float)
    sheet = np.full((260, 200), float(paper))
    sheet[100 : 100 + side, 15 : 15 + side] -= drawn / 255 * ink
    return sheet.clip(0, 255).astype(np.uint8)


def test_mnists_own_form_passes_byte_for_byte(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    for digit in sample.test.images[:, 0]:
        assert torch.equal(read(Image.fromarray(digit.numpy())), digit)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_mnists_own_form_passes_in_colour_too(mode: str, sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    digit = sample.test.images[0, 0]
    assert torch.equal(read(Image.fromarray(digit.numpy()).convert(mode)), digit)


def test_drawn_dark_on_light_the_digits_are_recognised(
    sample: Dataset, trained: Trained, read: Callable[..., torch.Tensor]
) -> None:
    classifier, images = load_classifier(trained.path), sample.test.images[::5]
    drawn = torch.stack([read(Image.fromarray(page(image[0])), "page.jpg", quality=80) for image in images])
    agreement = (classifier.predict(drawn).digits == classifier.predict(images).digits).float().mean()
    assert agreement >= 0.96  # 200 images


def two_tone(sheet: NDArray[np.uint8]) -> Image.Image:
    """Strokes alone, the paper transparent."""
    rgba = np.zeros((*sheet.shape, 4), dtype=np.uint8)
    rgba[..., 3] = ImageOps.invert(Image.fromarray(sheet))
    return Image.fromarray(rgba)


def rotated(sheet: NDArray[np.uint8]) -> tuple[Image.Image, Image.Exif]:
    image = Image.fromarray(sheet).transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    return image, exif


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
    scan[:, :8] = scan[-8:] = 20
    return Image.fromarray(scan)


def in_a_frame(sheet: NDArray[np.uint8]) -> Image.Image:
    return ImageOps.expand(Image.fromarray(sheet), 4, fill=0)


VARIANTS: dict[str, Callable[[NDArray[np.uint8]], Image.Image]] = {
    "light on dark": lambda sheet: ImageOps.invert(Image.fromarray(sheet)),
    "colour": lambda sheet: Image.fromarray(sheet).convert("RGB"),
    "palette": lambda sheet: Image.fromarray(sheet).convert("P"),
    "black and white": lambda sheet: Image.fromarray(sheet).convert("1", dither=Image.Dither.NONE),
    "16 bit": lambda sheet: Image.fromarray(sheet.astype(np.uint16) * 257),
    "transparent, dark strokes": two_tone,
    "transparent, light strokes": lambda sheet: Image.merge(
        "RGBA", [Image.new("L", sheet.shape[::-1], 255)] * 3 + [ImageOps.invert(Image.fromarray(sheet))]
    ),
    "transparent corners": with_round_corners,
    "transparent margin": on_a_transparent_margin,
    "large": lambda sheet: Image.fromarray(sheet).resize((2000, 2600)),
    "faint": lambda sheet: Image.fromarray((180 + sheet / 6).astype(np.uint8)),
    "lit from one side": lit_from_one_side,
    "with specks": with_specks,
    "on a table": on_a_table,
    "with a dark edge": with_a_dark_edge,
    "in a frame": in_a_frame,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_however_a_digit_is_drawn_it_becomes_the_same(
    variant: str, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    for digit in sample.test.images[::100, 0]:
        sheet = page(digit, paper=255, ink=255)
        plain, other = read(Image.fromarray(sheet)), read(VARIANTS[variant](sheet))
        assert distance(plain, other) < 12


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean difference of grey levels, a shift by one pixel allowed, which rounding may cause."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return min((a.float() - b.float().roll(shift, (0, 1))).abs().mean().item() for shift in shifts)


def test_different_digits_are_further_apart_than_that(sample: Dataset) -> None:
    digits = sample.test.images[::100, 0]
    assert min(distance(a, b) for i, a in enumerate(digits) for b in digits[:i]) > 20


def test_a_turned_photo_is_set_upright(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    sheet = page(sample.test.images[500, 0])
    image, exif = rotated(sheet)
    assert torch.equal(read(image, exif=exif), read(Image.fromarray(sheet)))


def test_the_result_has_mnists_form(sample: Dataset, read: Callable[..., torch.Tensor]) -> None:
    for digit in sample.test.images[::50, 0]:
        result = read(Image.fromarray(page(digit))).numpy()
        rows, columns = ndimage.find_objects((result > 0).astype(int))[0]
        assert max(rows.stop - rows.start, columns.stop - columns.start) in (19, 20)
        assert np.abs(np.subtract(ndimage.center_of_mass(result), 14)).max() < 0.6
        assert result.max() == 255


def test_bytes_become_fractions_and_fractions_stay() -> None:
    images = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(scale(images), torch.from_numpy(np.arange(256, dtype=np.float32) / 255))
    assert torch.equal(scale(scale(images)), scale(images))
    assert images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), dtype=np.int64), "int64 cannot be used: give uint8"),
        (np.full((28, 28), 255.0), "divide by 255"),
        (np.full((28, 28), np.nan), "must lie in 0 to 1"),
        (np.zeros((2, 28, 28, 1), dtype=np.uint8), r"give images\[\.\.\., 0\]"),
        (np.array(["a.png"]), "holds no images"),
        (np.zeros((28, 27), dtype=np.uint8), r"shape \(28, 27\)"),
        (np.zeros((2, 28, 28, 2), dtype=np.uint8), r"give \(28, 28\), \(n, 28, 28\)"),
        (np.zeros((2, 3, 28, 28), dtype=np.uint8), r"shape \(2, 3, 28, 28\)"),
        (np.zeros((), dtype=np.uint8), r"shape \(\)"),
    ],
)
def test_arrays_that_are_no_images_are_said(images: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_batch(images)
