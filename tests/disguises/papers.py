"""Papers and the light on them."""

import numpy as np
from PIL import Image
from scipy import ndimage

from tests.disguises.drawing import HEIGHT, WIDTH, Array, Chance, Digit, enlarge, photo, picture, place, ramp, written


def white_paper(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance, 1, 0))


def grey_paper(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance, 0.6, 0.1))


def cream_paper(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance, (0.98, 0.94, 0.8), (0.1, 0.1, 0.12)))


def _rule(paper: Array, tone: tuple[float, float, float], first: int, gap: int, across: bool) -> Array:
    ruled = paper.copy()
    for at in range(first, paper.shape[across], gap):
        ruled[(slice(None), slice(at, at + 2))[:: 1 if across else -1]] = tone
    return ruled


def lined_paper(digit: Digit, chance: Chance) -> Image.Image:
    paper = np.full((HEIGHT, WIDTH, 3), (0.97, 0.97, 0.96))
    paper = _rule(paper, (0.75, 0.82, 0.92), int(chance.integers(40)), 40, across=False)
    return photo(written_over(paper, digit, chance, (0.1, 0.12, 0.3)))


def squared_paper(digit: Digit, chance: Chance, side: int = 30) -> Image.Image:
    paper = np.full((HEIGHT, WIDTH, 3), (0.97, 0.97, 0.96))
    for across in (False, True):
        paper = _rule(paper, (0.72, 0.77, 0.85), int(chance.integers(side)), side, across)
    return photo(written_over(paper, digit, chance, (0.1, 0.12, 0.3)))


def large_squares(digit: Digit, chance: Chance) -> Image.Image:
    """The digit is larger than a square."""
    return squared_paper(digit, chance, 100)


def written_over(paper: Array, digit: Digit, chance: Chance, ink: tuple[float, float, float]) -> Array:
    """Ink covers what the paper shows."""
    amount = place(enlarge(digit), chance)[..., None]
    return (1 - amount) * paper + amount * np.minimum(paper, ink)


def noisy(digit: Digit, chance: Chance) -> Image.Image:
    sheet = written(digit, chance, 0.8, 0.15)
    return picture(sheet + chance.normal(0, 0.07, sheet.shape))


def jpeg_artefacts(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance, (0.95, 0.93, 0.9), (0.1, 0.15, 0.5)), quality=8)


def rough_paper(digit: Digit, chance: Chance) -> Image.Image:
    grain = ndimage.gaussian_filter(chance.normal(0, 1, (HEIGHT, WIDTH)), 3)
    return photo(written(digit, chance, 0.8 + 0.04 * grain / grain.std(), 0.15))


def back_shows_through(digit: Digit, chance: Chance) -> Image.Image:
    back = 1 - 0.12 * np.fliplr(place(enlarge(digit), chance))
    return photo(written(digit, chance) * back)


def light_from_a_side(digit: Digit, chance: Chance) -> Image.Image:
    return photo(written(digit, chance) * (0.75 + 0.25 * ramp(chance.uniform(0, 2 * np.pi)).clip(-1, 1)))


def vignette(digit: Digit, chance: Chance) -> Image.Image:
    radius = np.hypot(ramp(0), ramp(np.pi / 2))
    return photo(written(digit, chance) * (1 - 0.3 * radius**2))


def lamp(digit: Digit, chance: Chance) -> Image.Image:
    x, y = chance.uniform(-1, 1, 2)
    return photo(written(digit, chance) / (1 + 0.6 * ((ramp(0) - x) ** 2 + (ramp(np.pi / 2) - y) ** 2)))


def _shade(where: Array, depth: float, blur: float, chance: Chance) -> Array:
    return 1 - depth * ndimage.gaussian_filter(where.astype(float), blur)


def hard_shadow_over_half(digit: Digit, chance: Chance) -> Image.Image:
    where = ramp(chance.uniform(0, 2 * np.pi)) > chance.uniform(-0.1, 0.1)
    return photo(written(digit, chance) * _shade(where, 0.5, 0.7, chance))


def hard_shadow_over_a_corner(digit: Digit, chance: Chance) -> Image.Image:
    angle = np.pi / 4 + np.pi / 2 * chance.integers(4) + chance.uniform(-0.3, 0.3)
    return photo(written(digit, chance) * _shade(ramp(angle) > chance.uniform(0.4, 0.6), 0.5, 0.7, chance))


def soft_shadow_over_half(digit: Digit, chance: Chance) -> Image.Image:
    where = ramp(chance.uniform(0, 2 * np.pi)) > chance.uniform(-0.1, 0.1)
    return photo(written(digit, chance) * _shade(where, 0.5, 25, chance))


def shadow_of_a_hand(digit: Digit, chance: Chance) -> Image.Image:
    x, y = chance.uniform(0.2, 1, 2)
    hand = np.hypot(ramp(0) - x, ramp(np.pi / 2) - y) < 0.6
    arm = (ramp(0) > x) & (np.abs(ramp(np.pi / 2) - y) < 0.4)
    return photo(written(digit, chance) * _shade(hand | arm, 0.4, 10, chance))


PAPERS = {
    "white paper": white_paper,
    "grey paper": grey_paper,
    "cream paper": cream_paper,
    "lined paper": lined_paper,
    "squared paper": squared_paper,
    "large squares": large_squares,
    "noise": noisy,
    "JPEG artefacts": jpeg_artefacts,
    "rough paper": rough_paper,
    "the back shows through": back_shows_through,
    "light from a side": light_from_a_side,
    "vignette": vignette,
    "a lamp beside the digit": lamp,
    "hard shadow over half the sheet": hard_shadow_over_half,
    "hard shadow over a corner": hard_shadow_over_a_corner,
    "soft shadow over half the sheet": soft_shadow_over_half,
    "shadow of a hand": shadow_of_a_hand,
}
