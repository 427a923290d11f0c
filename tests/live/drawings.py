"""The hand-made drawings of strokes.json: digits on a sheet of 280 x 280, as points and as pictures."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Stroke = list[tuple[float, float]]
Points = NDArray[np.float64]


def drawings(variant: str | None = None) -> list[dict[str, Any]]:
    """Read all drawings, or those of one variant: digit, form, variant, pen, and strokes as x, y, x, y, ..."""
    drawn: list[dict[str, Any]] = json.loads(Path(__file__).with_name("strokes.json").read_text())
    return [each for each in drawn if variant in (None, each["variant"])]


def as_points(flat: list[float]) -> Stroke:
    return list(zip(flat[::2], flat[1::2], strict=True))


def as_picture(strokes: list[Stroke], pen: float, side: int = 280) -> Image.Image:
    """Draw with a round pen, dark on white: a pixel is as dark as its distance to the strokes says."""
    ink = np.zeros((side, side))
    for stroke in strokes:
        for a, b in itertools.pairwise(np.array([*stroke, stroke[-1]])):
            left, top = (np.minimum(a, b) - pen).clip(0).astype(int)
            right, bottom = (np.maximum(a, b) + pen).astype(int)
            near = ink[top:bottom, left:right]
            y, x = np.indices(near.shape) + 0.5
            covered = pen / 2 + 0.5 - _distance(np.stack([x + left, y + top], axis=-1), a, b)
            np.maximum(near, covered.clip(0, 1), out=near)
    return Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8))


def _distance(places: Points, a: Points, b: Points) -> Points:
    """Return how far each place is from the segment between a and b."""
    along = ((places - a) @ (b - a) / max((b - a) @ (b - a), 1e-12)).clip(0, 1)
    distance: Points = np.linalg.norm(places - a - along[..., None] * (b - a), axis=-1)
    return distance
