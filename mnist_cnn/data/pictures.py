"""Convert any picture of a digit to MNIST's form: 28x28 bytes, light ink on black, the digit in a 20x20 box.

LeCun, Cortes and Burges scaled the digit's longer side to 20 pixels and centred its centre of mass. In all 70,000
images the longer side has 19 or 20 pixels, and the centre of mass is within 0.52 of row and column 14.
"""

import math
import re
import warnings
from os import PathLike

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageFilter, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile
from scipy import ndimage
from torch import Tensor

from mnist_cnn.data.box import BOX, CENTRE, crop_to_strokes, fill_outline, fit_into_box, limit_width
from mnist_cnn.data.images import SIDE
from mnist_cnn.data.ink import bounding_box, find_ink
from mnist_cnn.errors import InputError
from mnist_cnn.schema import Reading

_WORKING_SIDE = 512  # pixels; larger pictures are reduced to this first
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")  # other formats can run programs (EPS) or take minutes (PPM)
_MOST_PIXELS = 50_000_000  # decoding takes at most 900 MB and 2 seconds
_MOST_EXIF = 2**18  # bytes; a segment of a JPEG has at most 65,000
_MOST_SCANNED = 1_500_000_000  # pixels x scans of a JPEG, 1 ns each; a progressive JPEG has 10 scans
_MOST_IN_RUNS = 1_000_000  # pixels of a run-length encoded BMP, 1.2 microseconds each
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # a scan's marker, length and channels


def read_picture(path: str | PathLike[str], reading: Reading = "ink") -> UInt8[Tensor, "28 28"]:
    """Read a picture as 28x28 bytes.

    "ink" converts a photo, scan or drawing of one digit or letter to MNIST's form; a picture that already has this form
    is returned unchanged. "resize" makes any picture grey, pads it to a square with the median of its edge, and resizes
    it.
    Raises InputError if the file is missing, cannot be decoded, is too large, or is blank.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS) as image:
            _check_effort(image)
            picture = _decode(image)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: a picture may have {_MOST_PIXELS:,} pixels") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read: give one of {', '.join(_FORMATS)}") from error
    except Exception as error:  # decoders raise errors of any type
        raise InputError(f"{path} is not a picture that can be read: {error}") from error
    if reading == "resize":
        return torch.from_numpy(_resize(path, picture.mean(axis=2)))
    if _has_mnist_form(picture):
        return torch.from_numpy(_stretch(picture[..., 0]))
    ink = find_ink(picture)
    if ink is None:
        raise InputError(f"{path} is blank: nothing stands out from the background")
    return torch.from_numpy(fit_into_box(limit_width(fill_outline(crop_to_strokes(ink)))))


def _resize(path: str | PathLike[str], gray: NDArray[np.float32]) -> NDArray[np.uint8]:
    if not np.ptp(gray):
        raise InputError(f"{path} is blank: all its pixels are alike")
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    side, sides = max(gray.shape), gray.shape
    around = [((side - length) // 2, (side - length + 1) // 2) for length in sides]
    square = Image.fromarray(np.pad(gray, around, constant_values=float(np.median(edge))))
    small = square if side == SIDE else square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.rint(np.asarray(small)).clip(0, 255).astype(np.uint8)
    return pixels


def _check_effort(image: ImageFile.ImageFile) -> None:
    """Raise an error if decoding would take much more time or memory than the picture's size suggests."""
    tags = getattr(image, "tag_v2", {})  # a small TIFF may be part of a large tile
    if int(tags.get(Base.TileWidth, 0)) * int(tags.get(Base.TileLength, 0)) > _MOST_PIXELS:
        raise Image.DecompressionBombError
    if image.format == "BMP" and image.info["compression"] in (1, 2) and math.prod(image.size) > _MOST_IN_RUNS:
        raise ValueError(f"it has {math.prod(image.size):,} pixels in runs")
    if isinstance(image, JpegImageFile) and image.fp:
        image.fp.seek(0)
        scans = len(_SCAN.findall(image.fp.read()))
        if scans * math.prod(image.size) > _MOST_SCANNED:
            raise ValueError(f"it has {scans:,} scans of {math.prod(image.size):,} pixels")


def _decode(image: Image.Image) -> NDArray[np.float32]:
    """Decode to rows, columns and channels (one if grey), 0-255, upright, at most 512 pixels on the longer side."""
    image.draft(image.mode, (_WORKING_SIDE, _WORKING_SIDE))  # decodes a large JPEG at a fraction of its size
    if image.width * image.height > _MOST_PIXELS:
        raise Image.DecompressionBombError
    image.load()
    if len(image.info.get("exif", b"")) > _MOST_EXIF:  # in a PNG it may come after the pixels
        raise ValueError(f"its EXIF data has more than {_MOST_EXIF:,} bytes")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "1" and min(image.size) > 2 * SIDE:  # dots may represent grey
        image = image.convert("L").filter(ImageFilter.BoxBlur(1))
    is_8_bit = image.mode[0] not in "IF"  # or fewer bits
    if is_8_bit:
        image = image.convert("RGBA" if image.has_transparency_data else "L" if image.mode in "1L" else "RGB")
    else:
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    pixels = np.atleast_3d(np.asarray(image).astype(np.float32))
    if image.mode == "RGBA":
        pixels = _flatten(pixels[..., :3], pixels[..., 3:])
    if not np.isfinite(pixels).all():
        raise ValueError("it contains NaN or infinite values")
    if not is_8_bit or pixels.max() <= 1:  # a mask of 0 and 1
        pixels *= 255 / _full_range(float(pixels.max()))
    return pixels[..., :1] if (pixels[..., :1] == pixels).all() else pixels


def _full_range(greatest: float) -> float:
    """Guess the value of white: 1 for fractions, otherwise all ones in 8 or more bits."""
    return 1 if greatest <= 1 else max(255, 2 ** np.ceil(np.log2(greatest + 1)) - 1)


def _flatten(colours: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put a partly transparent picture on its own background colour, or bare strokes on a contrasting one."""
    opaque = alpha[..., 0] > 127
    shown = colours[opaque] if opaque.any() else np.zeros((1, 3), dtype=np.float32)
    light = shown.mean(axis=1)
    one_tone = np.ptp(np.quantile(light, (0.001, 0.999))) < 40
    ground = np.median(shown, axis=0) if not one_tone else 255 if np.median(light) < 128 else 0
    flat: NDArray[np.float32] = np.rint(colours * alpha / 255 + ground * (1 - alpha / 255)).astype(np.float32)
    return flat


def _stretch(gray: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale a dim picture so that its brightest pixel is 255. Every digit of MNIST has a pixel of 128 or more."""
    return np.rint(gray * (255 / gray.max() if gray.max() < 128 else 1)).astype(np.uint8)


def _has_mnist_form(picture: NDArray[np.float32]) -> bool:
    if picture.shape != (SIDE, SIDE, 1) or not picture.max() > 0:
        return False
    gray = picture[..., 0]
    longer_side = max(gray[bounding_box(gray > 0)].shape)
    return longer_side in (BOX - 1, BOX) and all(abs(axis - CENTRE) < 0.6 for axis in ndimage.center_of_mass(gray))
