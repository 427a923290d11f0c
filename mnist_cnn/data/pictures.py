"""Convert any picture of a digit to MNIST's form: 28x28 bytes, light ink on black, the digit in a 20x20 box.

LeCun, Cortes and Burges scaled the digit's longer side to 20 pixels, and placed its centre of mass in the middle. In
all 70,000 images the longer side has 19 or 20 pixels, and the centre of mass is within 0.52 of row and column 14.
"""

from os import PathLike

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from mnist_cnn.data.images import SIDE
from mnist_cnn.errors import InputError

BOX, CENTRE = 20, 14
_WORKING_SIDE = 512  # pixels; larger pictures are reduced to this first
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF")  # others can run programs (EPS) or take minutes (PPM)
_MOST_PIXELS = 50_000_000  # to decode; takes at most 900 MB and 2 seconds
_FAINTEST = 12  # grey levels of 255 by which ink must differ from paper


def read_picture(path: str | PathLike[str]) -> UInt8[Tensor, "28 28"]:
    """Read a photo, scan or drawing of one digit, and convert it to MNIST's form.

    A picture that already has this form does not change by a byte.
    Raises InputError if the file is missing, cannot be decoded, is too large, or is blank.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            gray = _to_gray(image)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: a picture may have {_MOST_PIXELS:,} pixels") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except Exception as error:  # decoders raise every kind
        raise InputError(f"{path} is not a picture that can be read: {error}") from error
    if _has_mnist_form(gray):
        return torch.from_numpy(gray.astype(np.uint8))
    ink = _find_ink(gray)
    if ink is None:
        raise InputError(f"{path} is blank: nothing stands out from the background")
    return torch.from_numpy(_fit_into_box(_crop_to_strokes(_find_ink_on_page(gray, ink))))


def _to_gray(image: Image.Image) -> NDArray[np.float32]:
    """Decode to grey levels 0-255, upright, at most 512 on the longer side."""
    image.draft("L", (_WORKING_SIDE, _WORKING_SIDE))  # decodes a large JPEG at a fraction of its size
    if image.width * image.height > _MOST_PIXELS:
        raise Image.DecompressionBombError
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":  # more than 8 bits
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    else:
        image = image.convert("RGBA" if image.has_transparency_data else "L")
    image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    if image.mode == "RGBA":
        image = _flatten(image)
    gray = np.asarray(image).astype(np.float32)
    if not np.isfinite(gray).all():
        raise ValueError("it contains NaN or infinite values")
    if image.mode == "F":  # the range is not stated: fractions up to 1, 8 bits up to 255, else 16 bits
        gray *= 255 if gray.max() <= 1 else 1 if gray.max() <= 255 else 1 / 257
    return gray


def _flatten(image: Image.Image) -> Image.Image:
    """Put a partly transparent picture on its own paper's tone, or strokes alone on a contrasting tone."""
    light, alpha = (np.asarray(part).astype(np.float32) for part in (image.convert("L"), image.getchannel("A")))
    shown = light[alpha > 127] if (alpha > 127).any() else np.zeros(1)
    one_tone = np.ptp(np.quantile(shown, (0.001, 0.999))) < 40
    ground = np.median(shown) if not one_tone else 255 if np.median(shown) < 128 else 0
    return Image.fromarray(np.rint(light * alpha / 255 + ground * (1 - alpha / 255)).astype(np.uint8))


def _has_mnist_form(gray: NDArray[np.float32]) -> bool:
    if gray.shape != (SIDE, SIDE) or not (gray > 0).any():
        return False
    longer_side = max(gray[_bounding_box(gray > 0)].shape)
    return longer_side in (BOX - 1, BOX) and all(abs(axis - CENTRE) < 0.6 for axis in ndimage.center_of_mass(gray))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold all True values."""
    boxes: list[tuple[slice, slice]] = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0]


def _find_ink(gray: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return how much each pixel differs from the paper, 0 to 1, without noise; None if nothing does."""
    difference, noise = _subtract_paper(gray)
    dark, light = np.clip(-difference, 0, None), np.clip(difference, 0, None)
    ink = dark if np.square(dark).sum() >= np.square(light).sum() else light
    strokes = ink[ink > _otsu_threshold(ink)]
    full = float(np.percentile(strokes, 90)) if strokes.size else 0.0
    if full < max(_FAINTEST, 4 * noise):
        return None
    floor = max(0.2 * full, 3 * noise)
    return np.where(ink > floor, np.minimum(ink / full, 1), 0).astype(np.float32)


def _find_ink_on_page(gray: NDArray[np.float32], ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """If the ink is a filled box, which no digit is, it is a sheet on a table: look for ink on the sheet."""
    box = _bounding_box(ink > 0.5)
    page, margin = ink[box], 0.03 * min(ink.shape)
    if (page > 0.5).mean() > 0.7 and page.size > 0.3 * ink.size and min(page.shape) > 4 * margin:
        inner = tuple(slice(round(part.start + margin), round(part.stop - margin)) for part in box)
        on_page = _find_ink(gray[inner])
        return ink if on_page is None else on_page
    return ink


def _subtract_paper(gray: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Subtract the paper: a plane, as light may fall from one side, through most of the pixels along the edge.

    Returns the difference, and the paper's noise as a standard deviation, both in grey levels.
    """
    height, width = gray.shape
    frame = max(1, round(0.04 * min(height, width)))
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    on_frame = np.ones_like(gray, dtype=bool)
    on_frame[frame:-frame, frame:-frame] = False
    columns = np.stack([np.ones_like(gray), x, y], axis=-1)
    distance = np.abs(gray - np.median(gray[on_frame]))
    paper = on_frame & (distance <= np.median(distance[on_frame]))  # a digit or the table may fill part of the edge
    plane, *_ = np.linalg.lstsq(columns[paper], gray[paper], rcond=None)
    difference = gray - columns @ plane
    return difference, float(1.4826 * np.median(np.abs(difference[paper])))


def _otsu_threshold(values: NDArray[np.float32]) -> float:
    """Return the threshold that splits values into two classes with the least variance within each (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sum_below = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sum_below * total - sum_below[-1] * below) ** 2 / (below * (total - below))
    return float(edges[1:][np.nan_to_num(between).argmax()])


def _crop_to_strokes(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crop to the strokes, without a table's edge, and without specks of less than 1/25 of the largest stroke's ink."""
    strokes, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    amount = ndimage.sum_labels(ink, strokes, range(count + 1))
    amount[0] = 0
    for side in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]):
        along = np.bincount(side, minlength=count + 1) > 0.6 * len(side)  # no digit lies along most of a side
        if amount[~along].any():
            amount[along] = 0
    ink = np.where((amount >= amount.max() / 25)[strokes], ink, np.float32(0))
    return ink[_bounding_box(ink > 0)]


def _fit_into_box(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale the longer side to 20 pixels, and place the centre of mass in the middle of 28x28."""
    ratio = BOX / max(ink.shape)
    height, width = (max(1, round(side * ratio)) for side in ink.shape)
    digit = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    digit = np.rint(255 * digit / digit.max()).astype(np.uint8)
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    corner = np.rint(np.subtract(CENTRE, ndimage.center_of_mass(digit))).astype(int)
    top, left = corner.clip(0, np.subtract(SIDE, digit.shape))
    picture[top : top + height, left : left + width] = digit
    return picture
