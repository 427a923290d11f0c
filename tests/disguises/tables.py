"""Sheets on tables, and what else lies on a sheet or around it."""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from tests.disguises.drawing import FIELD, HEIGHT, WIDTH, Array, Chance, Digit, photo, picture, polygon, written

_ROOM = 640, 600  # height and width of a picture of a sheet on a table
_BROWN = np.array([0.55, 0.38, 0.24])


def wood(chance: Chance) -> Array:
    """Boards with grain along them."""
    height, width = _ROOM
    grain = ndimage.gaussian_filter(chance.normal(0, 1, _ROOM), (2, 60))
    boards = chance.uniform(-0.06, 0.06, 8)[np.arange(height) * 8 // height, None]
    tones = _BROWN * (1 + 0.12 * grain / grain.std() + boards)[..., None]
    tones[np.arange(height) * 8 % height < 16] *= 0.5  # gaps between the boards
    assert tones.shape == (height, width, 3)
    return tones


def lay(sheet: Array, table: Array, chance: Chance, degrees: float = 0, shadow: float = 0) -> Array:
    """Lay a sheet on a table, turned around its middle, with a shadow to its lower right."""
    angle = np.deg2rad(chance.uniform(-degrees, degrees))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array(_ROOM) / 2 + chance.uniform(-40, 40, 2)
    offset = np.array(sheet.shape[:2]) / 2 - turn @ middle

    def turned(tones: Array) -> Array:
        moved: Array = ndimage.affine_transform(tones, turn, offset, _ROOM, order=1, mode="constant")
        return moved

    covered = turned(np.ones(sheet.shape[:2]))[..., None]
    dark = 1 - shadow * ndimage.gaussian_filter(np.roll(covered[..., 0], (12, 9), (0, 1)), 5)[..., None]
    colour = np.broadcast_to(sheet if sheet.ndim == 3 else sheet[..., None], (*sheet.shape[:2], 3))
    upper = np.stack([turned(colour[..., channel]) for channel in range(3)], axis=-1)
    return upper + (1 - covered) * dark * table


def plain_table(tone: float, chance: Chance) -> Array:
    return np.full((*_ROOM, 3), tone) + chance.normal(0, 0.015, (*_ROOM, 1))


def on_a_light_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), plain_table(0.7, chance), chance))


def on_a_dark_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), plain_table(0.2, chance), chance))


def on_a_wooden_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), wood(chance), chance))


def turned_on_a_light_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), plain_table(0.7, chance), chance, degrees=10))


def turned_on_a_dark_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), plain_table(0.2, chance), chance, degrees=10))


def turned_on_a_wooden_table(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), wood(chance), chance, degrees=10, shadow=0.5))


def with_the_sheets_own_shadow(digit: Digit, chance: Chance) -> Image.Image:
    return photo(lay(written(digit, chance), plain_table(0.8, chance), chance, degrees=5, shadow=0.6))


def sticky_note_on_a_table(digit: Digit, chance: Chance) -> Image.Image:
    note = written(digit, chance, (0.98, 0.92, 0.45), (0.1, 0.1, 0.3))
    table = lay(note, wood(chance), chance, degrees=8, shadow=0.3)
    wide = np.tile(_BROWN, (1100, 1000, 1))
    wide[230:870, 200:800] = table
    return photo(wide)


def beyond_the_sheets_edge(digit: Digit, chance: Chance) -> Image.Image:
    """The camera sees one edge of the sheet, and table beyond it."""
    return photo(np.hstack([written(digit, chance, (0.96,) * 3, (0.12,) * 3), wood(chance)[:HEIGHT, :110]]))


def specks(digit: Digit, chance: Chance) -> Image.Image:
    sheet = written(digit, chance)
    for y, x in chance.uniform(5, (HEIGHT - 5, WIDTH - 5), (12, 2)).astype(int):
        sheet[y : y + 4, x : x + 4] = 0.2
    return photo(sheet)


def staple(digit: Digit, chance: Chance) -> Image.Image:
    image = picture(written(digit, chance))
    ImageDraw.Draw(image).line((8, 26, 30, 10), fill=70, width=3)
    return image


def dark_edge(digit: Digit, chance: Chance) -> Image.Image:
    """A scan with the lid's shadow along two sides."""
    sheet = written(digit, chance)
    sheet[:, :9] *= 0.25
    sheet[-6:] *= 0.35
    return photo(sheet)


def frame(digit: Digit, chance: Chance) -> Image.Image:
    image = picture(written(digit, chance))
    ImageDraw.Draw(image).rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=0, width=5)
    return image


def printed_box(digit: Digit, chance: Chance) -> Image.Image:
    """A form: the box to write in is printed on the paper."""
    room = np.full((HEIGHT + 60, WIDTH + 60), 0.96)
    room[30:-30, 30:-30] = written(digit, chance)
    image = picture(room)
    ImageDraw.Draw(image).rectangle((26, 26, WIDTH + 33, HEIGHT + 33), outline=60, width=3)
    return image


def folded(digit: Digit, chance: Chance) -> Image.Image:
    """Two folds: each part of the sheet has its own light."""
    sheet = written(digit, chance)
    y, x = (int(chance.integers(side // 3, 2 * side // 3)) for side in sheet.shape)
    sheet[:y] *= 0.9
    sheet[:, :x] *= 0.94
    return photo(sheet)


def torn(digit: Digit, chance: Chance) -> Image.Image:
    """A scrap of paper on a dark ground."""
    around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = FIELD * chance.uniform(0.72, 0.8, 40)
    corners = 300 + reach[:, None] * np.stack([np.cos(around), np.sin(around)], axis=-1)
    scrap = np.full((600, 600), 0.96)
    scrap[90:510, 120:480] = written(digit, chance)
    return photo(np.where(polygon(600, 600, corners), scrap, 0.15))


TABLES = {
    "on a light table": on_a_light_table,
    "on a dark table": on_a_dark_table,
    "on a wooden table": on_a_wooden_table,
    "turned, on a light table": turned_on_a_light_table,
    "turned, on a dark table": turned_on_a_dark_table,
    "turned, on a wooden table": turned_on_a_wooden_table,
    "the sheet's own shadow": with_the_sheets_own_shadow,
    "a sticky note on a table": sticky_note_on_a_table,
    "an edge of the sheet, and table": beyond_the_sheets_edge,
    "a torn scrap": torn,
    "a folded sheet": folded,
    "specks": specks,
    "a staple": staple,
    "a dark edge": dark_edge,
    "a frame": frame,
    "a printed box": printed_box,
}
