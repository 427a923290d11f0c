"""Digits as pens draw them, and sheets of paper with light on them: arrays of floats, 0 (black) to 1 (white)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Array = NDArray[np.float64]
Digit = NDArray[np.uint8]
Chance = np.random.Generator

FIELD = 280  # pixels for MNIST's 28
HEIGHT, WIDTH = 420, 360  # of a sheet


def enlarge(digit: Digit, side: int = FIELD) -> Array:
    """Return the digit's ink, 0 to 1, smoothly enlarged."""
    large = Image.fromarray(digit.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return (np.asarray(large, dtype=float) / 255).clip(0, 1)


def outer_distance(digit: Digit) -> Array:
    """Return the signed distance in pixels to the edge of the strokes: negative inside them."""
    inside = np.pad(ndimage.gaussian_filter(enlarge(digit), 3) > 0.4, 40)
    outside: Array = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    return outside[40:-40, 40:-40]


def skeleton(digit: Digit) -> NDArray[np.bool_]:
    """Thin the strokes to one pixel (Zhang and Suen 1984)."""
    thin = outer_distance(digit) <= 0
    while True:
        before = thin.sum()
        for first in (True, False):
            north, _, east, _, south, _, west, _ = ring = [
                np.roll(thin, (-y, -x), (0, 1))
                for y, x in ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
            ]
            count = np.sum(ring, axis=0)
            turns = np.sum([~a & b for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)], axis=0)
            keeps = (north & east & south) | (east & south & west)
            if not first:
                keeps = (north & east & west) | (north & south & west)
            thin = thin & ~((count >= 2) & (count <= 6) & (turns == 1) & ~keeps)
        if thin.sum() == before:
            return thin


def place(ink: Array, chance: Chance, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Put ink somewhere on an empty sheet."""
    sheet = np.zeros((height, width))
    top, left = (int(chance.integers(room + 1)) for room in (height - ink.shape[0], width - ink.shape[1]))
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return sheet


def written(digit: Digit, chance: Chance, paper: Any = 0.96, ink: Any = 0.12) -> Array:
    """Return a sheet with a digit; tones of paper and ink are numbers, arrays, or three numbers (RGB)."""
    amount = place(enlarge(digit), chance)
    tones = np.asarray(paper, dtype=float), np.asarray(ink, dtype=float)
    if any(tone.ndim == 1 for tone in tones):
        amount = amount[..., None]
    return amount * tones[1] + (1 - amount) * tones[0]


def ramp(angle: float, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Return the distance along a direction, from -1 to 1 or so, 0 in the middle of the sheet."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.cos(angle) * x + np.sin(angle) * y


def photo(tones: Array, quality: int = 85) -> Image.Image:
    """Encode as JPEG, with its artefacts, and open it again."""
    buffer = io.BytesIO()
    picture(tones).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def picture(tones: Array) -> Image.Image:
    """Return an 8-bit image."""
    return Image.fromarray(np.rint(255 * tones.clip(0, 1)).astype(np.uint8))


def polygon(height: int, width: int, corners: Array) -> NDArray[np.bool_]:
    """Return a mask of a polygon, given as rows of x and y."""
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    return np.asarray(image)
