"""Pictures become what MNIST holds: 28x28 bytes, light ink on black, the digit in a 20x20 box around its centre.

The form is MNIST's own (LeCun, Cortes and Burges): the digit is scaled to a 20x20 box by its longer side and set into
28x28 by its centre of mass. Measured over all 70,000 images: the longer side has 19 or 20 pixels, the centre of mass
lies within 0.52 of row and column 14.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from mnist_cnn.errors import InputError

SIDE, BOX, CENTRE = 28, 20, 14
_WORKING_SIDE = 512  # pixels; larger pictures are reduced to this first
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF")  # others are programs, as EPS, or take long, as PPM
_MOST_PIXELS = 50_000_000  # to decode; at worst 400 MB and a second
_FAINTEST = 12  # grey levels of 255 by which ink must differ from paper
_ALONE = Lock()  # what is to be done of warnings, and where standard error goes, is one for all threads


def scale(images: UInt8[Tensor, "*shape"] | Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes 0-255 become floats 0-1; floats stay as they are."""
    return images.float().div_(255.0) if images.dtype == torch.uint8 else images.float()


def as_batch(images: ArrayLike | Tensor) -> UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]:
    """Bring one or many images into the form that networks take.

    Takes shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floating point in 0-1.
    Raises InputError for any other.
    """
    array = images if isinstance(images, Tensor) else np.array(images)
    if not isinstance(array, Tensor) and array.dtype.kind not in "biuf":
        raise InputError(f"{type(images).__name__} holds no images: give an array or a tensor, or read_picture(path)")
    batch = array if isinstance(array, Tensor) else torch.from_numpy(array)
    if batch.dtype != torch.uint8 and not batch.is_floating_point():
        raise InputError(f"images of {batch.dtype} cannot be used: give uint8 (0 to 255) or floats (0 to 1)")
    if batch.is_floating_point() and batch.numel() and not (batch.min() >= 0 and batch.max() <= 1):
        raise InputError(
            f"float images must lie in 0 to 1, these lie in {batch.min():g} to {batch.max():g}: divide by 255?"
        )
    shape = tuple(batch.shape)
    if shape[1:] == (SIDE, SIDE, 1):
        raise InputError(f"images of shape {shape} have Keras's last axis: give images[..., 0]")
    if shape[-2:] != (SIDE, SIDE) or batch.ndim > 4 or (batch.ndim == 4 and shape[1] != 1):
        raise InputError(f"images of shape {shape} cannot be used: give (28, 28), (n, 28, 28) or (n, 1, 28, 28)")
    return batch.reshape(-1, 1, SIDE, SIDE)


def read_picture(path: str | PathLike[str]) -> UInt8[Tensor, "28 28"]:
    """Read a picture of one digit, photo, scan or drawing, and bring it into MNIST's form.

    A picture that already has that form passes unchanged, byte for byte.
    Raises InputError if the file is missing, is no picture, is too large, or shows nothing.
    """
    try:
        with _ALONE, warnings.catch_warnings(action="ignore"):  # what is said of a picture is said in one line
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _open(path) as image, _silent_libtiff(image):
                gray = _gray(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is too large: a picture may have {_MOST_PIXELS:,} pixels") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except Exception as error:
        raise InputError(f"{path} is not a picture that can be read: {error}") from error
    if _has_mnist_form(gray):
        return torch.from_numpy(gray.astype(np.uint8))
    ink = _ink(gray)
    if ink is not None:
        ink = _ink_on_page(gray, ink)
    if ink is None:
        raise InputError(f"{path} is blank: there is nothing that stands out from its background")
    return torch.from_numpy(_into_box(_main_strokes(ink)))


def _open(path: str | PathLike[str]) -> Image.Image:
    if not S_ISREG(Path(path).stat().st_mode):  # a pipe may never have a writer
        raise ValueError("it is no file")
    return Image.open(path, formats=_FORMATS)


@contextmanager
def _silent_libtiff(image: Image.Image) -> Iterator[None]:
    """Keep the library libtiff from writing its own lines to standard error."""
    if image.format != "TIFF":
        yield
        return
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _gray(image: Image.Image) -> NDArray[np.float32]:
    """Grey levels 0-255, upright, at most 512 on the longer side."""
    image.draft("L", (_WORKING_SIDE, _WORKING_SIDE))  # a large JPEG is decoded at a fraction of its size
    if image.width * image.height > _MOST_PIXELS:
        raise Image.DecompressionBombError
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":  # more than 8 bits
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    else:
        mode = "RGBA" if image.has_transparency_data else "L"
        image = image if image.mode == mode else image.convert(mode)  # to convert is to copy
    image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    if image.mode == "RGBA":
        image = _on_its_paper(image)
    gray = np.asarray(image).astype(np.float32)
    if not np.isfinite(gray).all():
        raise ValueError("it holds values that are no numbers")
    if image.mode == "F":  # no stated range: 16 bit if beyond 8, fractions if within 1
        gray *= 255 if gray.max() <= 1 else 1 if gray.max() <= 255 else 1 / 257
    return gray


def _on_its_paper(image: Image.Image) -> Image.Image:
    """Lay a partly transparent picture on the paper that it shows; strokes alone, on what contrasts with them."""
    light, alpha = (np.asarray(part).astype(np.float32) for part in (image.convert("L"), image.getchannel("A")))
    shown = light[alpha > 127] if (alpha > 127).any() else np.zeros(1)
    one_tone = np.ptp(np.quantile(shown, (0.001, 0.999))) < 40
    ground = np.median(shown) if not one_tone else 255 if np.median(shown) < 128 else 0
    return Image.fromarray(np.rint(light * alpha / 255 + ground * (1 - alpha / 255)).astype(np.uint8))


def _has_mnist_form(gray: NDArray[np.float32]) -> bool:
    if gray.shape != (SIDE, SIDE) or not (gray > 0).any():
        return False
    rows, columns = (np.flatnonzero((gray > 0).any(axis=axis)) for axis in (1, 0))
    longer = 1 + max(rows[-1] - rows[0], columns[-1] - columns[0])
    return longer in (BOX - 1, BOX) and all(abs(centre - CENTRE) < 0.6 for centre in _centre_of_mass(gray))


def _centre_of_mass(values: NDArray[Any]) -> tuple[float, float]:
    """Return row and column, as scipy.ndimage.center_of_mass does in twice the time."""
    height, width = values.shape
    total = values.sum()
    row = (values * np.arange(height, dtype=float)[:, None]).sum() / total
    column = (values * np.arange(width, dtype=float)).sum() / total
    return float(row), float(column)


def _ink(gray: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """How much each pixel differs from the paper, 0 to 1, noise left out; None if nothing does."""
    difference, noise = _without_background(gray)
    dark, light = np.clip(-difference, 0, None), np.clip(difference, 0, None)
    ink = dark if np.square(dark).sum() >= np.square(light).sum() else light
    strokes = ink[ink > _otsu(ink)]
    full = float(np.percentile(strokes, 90)) if strokes.size else 0.0
    if full < max(_FAINTEST, 4 * noise):
        return None
    floor = max(0.2 * full, 3 * noise)
    clean: NDArray[np.float32] = np.where(ink > floor, np.minimum(ink / full, 1), 0).astype(np.float32)
    return clean


def _ink_on_page(gray: NDArray[np.float32], ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """If the ink is a sheet on a table, a filled box, look again within it; a digit fills no box."""
    rows, columns = ndimage.find_objects((ink > 0.5).astype(np.uint8))[0]
    page, margin = ink[rows, columns], 0.03 * min(ink.shape)
    if (page > 0.5).mean() > 0.7 and page.size > 0.3 * ink.size and min(page.shape) > 4 * margin:
        inner = tuple(slice(round(part.start + margin), round(part.stop - margin)) for part in (rows, columns))
        on_page = _ink(gray[inner])
        return ink if on_page is None else on_page
    return ink


def _without_background(gray: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Subtract the paper: a plane, for light that falls from one side, through most of the frame's pixels.

    Returns the difference and the paper's noise, a standard deviation, both in grey levels.
    """
    height, width = gray.shape
    frame = max(1, round(0.04 * min(height, width)))
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    on_frame = np.ones_like(gray, dtype=bool)
    on_frame[frame:-frame, frame:-frame] = False
    columns = np.stack([np.ones_like(gray), x, y], axis=-1)
    distance = np.abs(gray - np.median(gray[on_frame]))
    paper = on_frame & (distance <= np.median(distance[on_frame]))  # digit or table may fill part of it
    plane, *_ = np.linalg.lstsq(columns[paper], gray[paper], rcond=None)
    difference = gray - columns @ plane
    return difference, float(1.4826 * np.median(np.abs(difference[paper])))


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold between two classes of least variance within (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sum_below = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sum_below * total - sum_below[-1] * below) ** 2 / (below * (total - below))
    return float(edges[1:][np.nan_to_num(between).argmax()])


def _main_strokes(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crop to the strokes: without the table's edge, and specks of a twenty-fifth of the largest stroke's ink."""
    strokes, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    amount = ndimage.sum_labels(ink, strokes, range(count + 1))
    amount[0] = 0
    for side in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]):
        along = np.bincount(side, minlength=count + 1) > 0.6 * len(side)  # no digit lies along most of a side
        if amount[~along].any():
            amount[along] = 0
    ink = np.where((amount >= amount.max() / 25)[strokes], ink, np.float32(0))
    rows, columns = ndimage.find_objects((ink > 0).astype(np.uint8))[0]
    cropped: NDArray[np.float32] = ink[rows, columns]
    return cropped


def _into_box(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale strokes to 20 pixels by the longer side, and set them into 28x28 by their centre of mass."""
    ratio = BOX / max(ink.shape)
    height, width = (max(1, round(side * ratio)) for side in ink.shape)
    digit = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    digit = np.rint(255 * digit / digit.max()).astype(np.uint8)
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    top, left = (
        min(max(round(CENTRE - centre), 0), SIDE - side)
        for centre, side in zip(_centre_of_mass(digit), digit.shape, strict=True)
    )
    picture[top : top + height, left : left + width] = digit
    return picture
