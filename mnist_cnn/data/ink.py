"""Find ink on paper: the panel or sheet that holds the digit, and how much each pixel differs from the paper.

Pictures are arrays of rows, columns and channels, 0-255, at most 512 pixels on the longer side. The thresholds in this
file and in box.py were chosen by hand, on the kinds of pictures in tests/disguises made of MNIST's training images;
those for panels also on 40 test digits (measured in benchmarks/README.md).
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FAINTEST = 12  # grey levels of 255 by which ink must differ from paper
_SHEET_SIDE = 256  # pixels of the longer side when looking for panels and sheets
_BORDER = 4  # of these pixels: the width of a sheet's blurred edge
_TINY = 64  # pixels of the longer side; smaller pictures may show panels, but no sheets
_LEAST = 0.04  # the smallest panel, as a share of the picture
_COLOUR_SIDE = 40  # pixels of the longer side when looking for the colour of the ink
_WINDOW = 0.3  # of the longer side: wider than any stroke


def find_ink(picture: Array) -> Array | None:
    """Return how much each pixel differs from the paper, 0 to 1, without noise; None if no pixel does.

    Reads only a panel if there is one and its sides cut no stroke, or else only the sheet if there is one.
    """
    panels, sheets = find_sheets(picture)
    on_panels = (_find_ink_on_sheet(picture, panel) for panel in panels)
    on_sheets = (_find_ink_on_sheet(picture, sheet) for sheet in sheets)
    everywhere = np.ones(picture.shape[:2], dtype=bool)
    inks = itertools.chain(
        (ink for ink in on_panels if ink is not None and not _frame(ink, 1).any()),
        on_sheets,
        (_find_ink_on_paper(picture, everywhere, window) for window in (_WINDOW, 1)),
    )
    return next((ink for ink in inks if ink is not None), None)


def _find_ink_on_sheet(picture: Array, sheet: Mask) -> Array | None:
    box = bounding_box(sheet)
    ink = _find_ink_on_paper(picture[box], sheet[box])
    return ink if ink is not None and max(ink[bounding_box(ink > 0)].shape) > max(ink.shape) / 8 else None


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """Return the rows and columns that hold all True values."""
    boxes: list[tuple[slice, slice]] = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0]


def find_sheets(picture: Array) -> tuple[list[Mask], list[Mask]]:
    """Return panels, innermost first, and sheets of paper, both then ordered by size, largest first."""
    tiny = max(picture.shape) < _TINY
    small = _resize(picture, 4 if tiny else min(1, _SHEET_SIDE / max(picture.shape)))
    slopes = [ndimage.gaussian_gradient_magnitude(small[..., channel], 1) for channel in range(small.shape[2])]
    regions, count = ndimage.label(np.max(slopes, axis=0) < 8)
    areas = ndimage.sum_labels(np.ones(regions.shape), regions, range(count + 1))
    areas[0] = 0
    panels, sheets = [], []
    for region in np.flatnonzero(areas > _LEAST / 2 * regions.size):
        filled = ndimage.binary_fill_holes(regions == region)
        if _frame(filled, 1).mean() > 0.02:
            continue
        if not tiny and _is_sheet(filled, small, areas[region]):
            sheets.append(ndimage.binary_erosion(filled, iterations=_BORDER))
        box = bounding_box(filled)
        if _is_panel(filled[box]) and filled[box].size > _LEAST * filled.size:
            filled[box] = True
            panels.append(ndimage.binary_dilation(filled))

    def rank(panel: Mask) -> tuple[int, int]:
        return sum(bool((panel <= other).all()) for other in panels), int(panel.sum())

    def enlarge(mask: Mask) -> Mask:
        return np.asarray(Image.fromarray(mask).resize(picture.shape[1::-1], Image.Resampling.NEAREST))

    by_size = sorted(sheets, key=np.sum, reverse=True)
    return [enlarge(panel) for panel in sorted(panels, key=rank, reverse=True)], [enlarge(sheet) for sheet in by_size]


def _is_panel(region: Mask) -> bool:
    """A panel is an upright rectangle, at most twice as long as wide, such as the image in a plot or a canvas."""
    return bool(_frame(region, 1).mean() > 0.8 and max(region.shape) < 2 * min(region.shape))


def _is_sheet(filled: Mask, picture: Array, area: float) -> bool:
    """A sheet is convex, lighter than its surroundings, and mostly free of ink."""
    light = picture.mean(axis=2)
    ring = ndimage.binary_dilation(filled, iterations=5) & ~ndimage.binary_dilation(filled, iterations=2)
    return bool(
        area > max(0.7 * filled.sum(), 0.08 * filled.size)
        and np.median(light[filled]) > np.median(light[ring])
        and ndimage.binary_erosion(filled, iterations=_BORDER).any()
        and filled.sum() > 0.9 * ConvexHull(np.argwhere(filled)).volume
    )


def _find_ink_on_paper(picture: Array, sheet: Mask, window: float = _WINDOW) -> Array | None:
    gray = _gray_by_colour(picture)
    gray = np.where(sheet, gray, np.median(gray[sheet]))
    difference, noise = _subtract_paper(gray, round(window * max(gray.shape)))
    ink = np.where(sheet, np.clip(difference, 0, None), 0)
    strokes = ink[ink > _otsu_threshold(ink)]
    full = float(np.percentile(strokes, 90)) if strokes.size else 0.0
    if full < max(_FAINTEST, 4 * noise):
        return None
    floor = max(0.2 * full, 3 * noise)
    return np.where(ink > floor, np.minimum(ink / full, 1), 0).astype(np.float32)


def _gray_by_colour(picture: Array) -> Array:
    """Project colours onto the axis from ink to paper, so that ink is dark.

    The paper's colour is the median of the neighbourhood; ink is what differs from it the most.
    """
    small = _resize(picture, min(1, _COLOUR_SIDE / max(picture.shape)))
    window = max(3, max(small.shape) // 2) | 1
    paper = np.stack(
        [ndimage.median_filter(small[..., c], window, mode="nearest") for c in range(small.shape[2])], axis=-1
    )
    difference = (small - paper).reshape(-1, small.shape[2])
    direction = np.linalg.eigh(difference.T @ difference)[1][:, -1]
    along = difference @ direction
    if np.square(along.clip(min=0)).sum() > np.square(along.clip(max=0)).sum():
        direction = -direction
    gray: Array = (picture @ (direction / np.abs(direction).sum())).astype(np.float32)
    return gray


def _resize(picture: Array, ratio: float) -> Array:
    height, width = (max(1, round(length * ratio)) for length in picture.shape[:2])
    return np.stack(
        [
            np.asarray(Image.fromarray(picture[..., channel]).resize((width, height), Image.Resampling.BOX))
            for channel in range(picture.shape[2])
        ],
        axis=-1,
    )


def _subtract_paper(gray: Array, window: int) -> tuple[Array, float]:
    """Return how much darker each pixel is than the paper around it, and the paper's noise, both in grey levels.

    Grey closing with a window wider than any stroke removes the ink and keeps the edges of shadows. Pixels in a shadow
    are divided by its brightness.
    """
    paper = ndimage.grey_closing(gray, max(3, window))
    middle = float(np.median(paper))
    light = np.maximum(paper / middle, 0.25) if middle > 0 else np.float32(1)
    difference = (paper - gray) / light
    frame = _frame(difference, max(1, round(0.04 * min(difference.shape))))
    paler = difference[difference <= _otsu_threshold(difference)]
    if paler.size and 2 * np.median(frame) > difference.max() + np.median(paler):  # the frame contains ink
        frame = paler
    level = float(np.median(frame))  # noise raises the closing
    distance = np.abs(frame - level)
    return difference - level, float(1.4826 * np.median(distance[distance <= np.median(distance)]))


def _frame(values: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the values along the edge, which is rarely ink."""
    inner = np.zeros(values.shape, dtype=bool)
    inner[width:-width, width:-width] = True
    return values[~inner]


def _otsu_threshold(values: Array) -> float:
    """Return the threshold that minimises the variance within the two classes it separates (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), counts.sum()
    sum_below = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sum_below * total - sum_below[-1] * below) ** 2 / (below * (total - below))
    return float(edges[1:][np.nan_to_num(between).argmax()])
