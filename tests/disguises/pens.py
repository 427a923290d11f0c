"""Pens and colours."""

import numpy as np
from PIL import Image
from scipy import ndimage

from tests.disguises.drawing import (
    Array,
    Chance,
    Digit,
    enlarge,
    outer_distance,
    photo,
    picture,
    place,
    skeleton,
    written,
)

_MARGIN = 40  # around the field, as thick strokes grow


def _line(amount: Array, chance: Chance) -> Image.Image:
    return picture(0.96 - 0.84 * place(amount.astype(float), chance))


def one_pixel(digit: Digit, chance: Chance) -> Image.Image:
    """A line of one pixel, and the sheet has 280."""
    return picture(1 - skeleton(digit).astype(float))


def _stroke(digit: Digit, radius: float) -> Array:
    return (radius + 0.5 - ndimage.distance_transform_edt(~skeleton(digit))).clip(0, 1)


def fine_pen(digit: Digit, chance: Chance) -> Image.Image:
    return _line(_stroke(digit, 2), chance)


def ballpoint(digit: Digit, chance: Chance) -> Image.Image:
    return _line(_stroke(digit, 4), chance)


def _grow(digit: Digit, pixels: float) -> Array:
    return (pixels + 0.5 - outer_distance(digit)).clip(0, 1)


def thick_pen(digit: Digit, chance: Chance) -> Image.Image:
    return _line(_grow(digit, 6), chance)


def very_thick_pen(digit: Digit, chance: Chance) -> Image.Image:
    return _line(_grow(digit, 11), chance)


def outline(digit: Digit, chance: Chance) -> Image.Image:
    return _line((2.5 - np.abs(outer_distance(digit))).clip(0, 1), chance)


def pencil(digit: Digit, chance: Chance) -> Image.Image:
    grain = chance.uniform(0.4, 1, (280, 280))
    amount = place(enlarge(digit) * grain, chance)
    return photo(0.9 - 0.2 * amount)


def dry_felt_pen(digit: Digit, chance: Chance) -> Image.Image:
    """The tone varies along the strokes."""
    tone = ndimage.gaussian_filter(chance.normal(0, 1, (280, 280)), 25)
    return photo(0.96 - 0.8 * place(enlarge(digit) * (0.7 + 0.3 * np.tanh(tone / tone.std())), chance))


def skipping_pen(digit: Digit, chance: Chance) -> Image.Image:
    """Scratches without ink."""
    amount = enlarge(digit)
    across = np.arange(280) + chance.integers(60)
    amount[across % 60 < 5] = 0
    return _line(amount, chance)


def blue_on_white(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance, (0.97, 0.97, 0.96), (0.1, 0.2, 0.75)))


def yellow_on_white(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance, (0.98, 0.98, 0.98), (0.98, 0.9, 0.1)))


def red_on_green(digit: Digit, chance: Chance) -> Image.Image:
    """Both have a brightness of 0.4."""
    return picture(written(digit, chance, (0.2, 0.526, 0.28), (0.9, 0.17, 0.28)))


def orange_on_blue(digit: Digit, chance: Chance) -> Image.Image:
    """Both have a brightness of 0.5, in a photo."""
    return photo(written(digit, chance, (0.3, 0.52, 0.92), (0.92, 0.37, 0.07)))


def light_on_dark(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance, 0, 1))


def white_on_red(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance, (0.75, 0.1, 0.12), (0.97, 0.95, 0.95)))


def chalk(digit: Digit, chance: Chance) -> Image.Image:
    board = np.array([0.14, 0.26, 0.2])
    wiped = ndimage.gaussian_filter(chance.normal(0, 1, (420, 360)), (4, 20))
    amount = place(enlarge(digit) * chance.choice([0.35, 1], (280, 280), p=[0.3, 0.7]), chance)
    tones = board + 0.04 * (wiped / wiped.std())[..., None]
    return photo(tones + amount[..., None] * (0.9 - tones))


PENS = {
    "1 pixel in 280": one_pixel,
    "a fine pen": fine_pen,
    "a ballpoint": ballpoint,
    "thick strokes": thick_pen,
    "very thick strokes": very_thick_pen,
    "outlined": outline,
    "faint pencil": pencil,
    "a dry felt pen": dry_felt_pen,
    "a pen that skips": skipping_pen,
    "blue on white": blue_on_white,
    "yellow on white": yellow_on_white,
    "red on green, equally bright": red_on_green,
    "orange on blue, equally bright": orange_on_blue,
    "light on dark": light_on_dark,
    "white on red": white_on_red,
    "chalk": chalk,
}
