"""Fit a digit into MNIST's 20x20 box: crop to its strokes, fill outlines, and limit the strokes' width.

Where the thresholds come from: see ink.py.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mnist_cnn.data.images import SIDE
from mnist_cnn.data.ink import bounding_box

BOX, CENTRE = 20, 14
_THINNEST, _THICKEST = 1.7, 4.0  # pixels in the box: the 5th and 95th percentiles of MNIST's training images
_RULED = 0.4  # of the ink: the darkest that lines printed on paper are
_LONG = 4  # the area of the smallest stroke in squares of its width; a circle's is 1.8
_SCALE = 12  # subpixels per pixel of the box when strokes are widened or thinned


def crop_to_strokes(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crop to the strokes of the digit, without marks that touch a side: a table, a shadow's corner, ruled lines.

    Lines that cross the digit are removed if they are fainter. If all strokes touch the sides, all are kept.
    """
    for faintest in (0, _RULED):
        strong = np.where(ink > faintest, ink, np.float32(0))
        amount, strokes = _label_strokes(strong)
        inner = amount.copy()
        inner[np.concatenate([strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]])] = 0
        if inner.max() > amount.max() / 4:
            return _keep_strokes(strong, inner, strokes)
    amount, strokes = _label_strokes(ink)
    for side in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]):
        along = np.bincount(side, minlength=len(amount)) > 0.6 * len(side)  # no digit covers most of a side
        if amount[~along].max() > amount.max() / 25:
            amount[along] = 0
    return _keep_strokes(ink, amount, strokes)


def _label_strokes(ink: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Label the strokes from 1 on. Returns the amount of ink of each, and the labels."""
    strokes, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    return ndimage.sum_labels(ink, strokes, range(count + 1)), strokes


def _keep_strokes(
    ink: NDArray[np.float32], amount: NDArray[np.float64], strokes: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Crop to the strokes, without specks that have less than 1/25 of the largest stroke's ink."""
    ink = np.where((amount >= amount.max() / 25)[strokes], ink, np.float32(0))
    return ink[bounding_box(ink > 0)]


def fill_outline(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill an outlined digit: the hole between its two lines is long, narrow, and as large as the digit."""
    drawn = ink > 0.5
    holes, _ = ndimage.label(ndimage.binary_fill_holes(drawn) & ~drawn)
    filled = ink.copy()
    for number, box in enumerate(ndimage.find_objects(holes), 1):
        if max(part.stop - part.start for part in box) < 0.75 * max(ink.shape):
            continue
        hole = np.pad(holes[box] == number, 1)
        width = 4 * ndimage.distance_transform_edt(hole)[hole].mean()
        if hole.sum() > max(_LONG * width**2, drawn.sum()) and width < 0.3 * max(ink.shape):
            filled[holes == number] = 1
    return filled


def limit_width(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Widen strokes that are thinner than MNIST's and thin those that are thicker, by moving their edges."""
    size = BOX * _SCALE
    margin = _SCALE * BOX // 4
    drawn = np.pad(_resize(ink, size / max(ink.shape)) > 0.5, margin)
    inside = ndimage.distance_transform_edt(drawn)
    width = 4 * float(inside.sum()) / max(1, drawn.sum()) - 2
    wanted = float(np.clip(width, _THINNEST * _SCALE, _THICKEST * _SCALE))
    if wanted == width or not drawn.any() or width > size / 2:  # a filled box is no stroke
        return ink
    outward = (wanted - width) / 2 / (1 - wanted / size)  # the digit grows or shrinks with its strokes
    distance = np.where(drawn, 0.5 - inside, ndimage.distance_transform_edt(~drawn) - 0.5)
    moved: NDArray[np.float32] = (0.5 + (outward - distance) / _SCALE).clip(0, 1).astype(np.float32)
    return moved[bounding_box(moved > 0)]


def _resize(ink: NDArray[np.float32], ratio: float) -> NDArray[np.float32]:
    height, width = (max(1, round(side * ratio)) for side in ink.shape)
    resized = Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)
    pixels: NDArray[np.float32] = np.asarray(resized).clip(0, 1)
    return pixels


def fit_into_box(ink: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale the longer side to 20 pixels, and place the centre of mass in the middle of 28x28."""
    digit = _resize(ink, BOX / max(ink.shape))
    digit = np.rint(255 * digit / digit.max()).astype(np.uint8)
    picture = np.zeros((SIDE, SIDE), dtype=np.uint8)
    corner = np.rint(np.subtract(CENTRE, ndimage.center_of_mass(digit))).astype(int)
    top, left = corner.clip(0, np.subtract(SIDE, digit.shape))
    picture[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return picture
