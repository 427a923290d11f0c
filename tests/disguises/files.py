"""Formats of files, places on the sheet, resolutions."""

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from tests.disguises.drawing import Array, Chance, Digit, enlarge, photo, picture, place, written

_EXIF_ORIENTATION = 0x0112


def one_bit(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance)).convert("1", dither=Image.Dither.NONE)


def dithered(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance, 0.9, 0.15)).convert("1")


def palette(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance, (0.97, 0.95, 0.85), (0.1, 0.2, 0.6))).quantize(8)


def _sixteen_bits(sheet: Array, greatest: int) -> Image.Image:
    return Image.fromarray(np.rint(sheet * greatest).astype(np.uint16))


def sixteen_bits(digit: Digit, chance: Chance) -> Image.Image:
    return _sixteen_bits(written(digit, chance), 65_535)


def twelve_bits(digit: Digit, chance: Chance) -> Image.Image:
    return _sixteen_bits(written(digit, chance), 4_095)


def dim_ten_bits(digit: Digit, chance: Chance) -> Image.Image:
    sheet = written(digit, chance, 0.6, 0.1)
    return _sixteen_bits(sheet + chance.normal(0, 0.005, sheet.shape).clip(-0.1, 0.1), 1_023)


def _on_nothing(digit: Digit, chance: Chance, tone: int) -> Image.Image:
    image = Image.new("L", (360, 420), tone)
    image.putalpha(picture(place(enlarge(digit), chance)))
    return image


def dark_on_transparent(digit: Digit, chance: Chance) -> Image.Image:
    return _on_nothing(digit, chance, 20).convert("RGBA")


def light_on_transparent(digit: Digit, chance: Chance) -> Image.Image:
    return _on_nothing(digit, chance, 250)


def transparent_margin(digit: Digit, chance: Chance) -> Image.Image:
    image = Image.new("RGBA", (500, 560))
    image.paste(picture(written(digit, chance)).convert("RGBA"), (70, 70))
    return image


def small_in_a_corner(digit: Digit, chance: Chance) -> Image.Image:
    sheet = np.zeros((700, 500))
    sheet[10:80, 10:80] = enlarge(digit, 70)
    return photo(0.95 - 0.8 * sheet)


def off_centre(digit: Digit, chance: Chance) -> Image.Image:
    return picture(1 - place(enlarge(digit, 140), chance, 400, 600))


def long_strip(digit: Digit, chance: Chance) -> Image.Image:
    return picture(0.95 - 0.8 * place(enlarge(digit, 200), chance, 200, 1200))


def turned_by_exif(digit: Digit, chance: Chance) -> Image.Image:
    """The camera was held upright; the file lies on its side."""
    image = picture(written(digit, chance)).transpose(Image.Transpose.ROTATE_90)
    image.getexif()[_EXIF_ORIENTATION] = 6
    return image


def cut_close(digit: Digit, chance: Chance) -> Image.Image:
    """The digit touches all four sides."""
    image = picture(enlarge(digit))
    return ImageOps.invert(image.crop(image.point(lambda tone: 255 * (tone > 50)).getbbox()))


def blurred(digit: Digit, chance: Chance) -> Image.Image:
    return photo(ndimage.gaussian_filter(written(digit, chance), 7))


def shaken(digit: Digit, chance: Chance) -> Image.Image:
    """The camera moved by 20 pixels to the side."""
    return photo(ndimage.uniform_filter1d(written(digit, chance), 20, axis=1))


def thumbnail(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance)).resize((36, 42), Image.Resampling.BOX)


def own_size_dark_on_light(digit: Digit, chance: Chance) -> Image.Image:
    return ImageOps.invert(Image.fromarray(digit))


def large_photo(digit: Digit, chance: Chance) -> Image.Image:
    return picture(written(digit, chance)).resize((2160, 2520), Image.Resampling.BICUBIC)


FILES = {
    "1 bit": one_bit,
    "1 bit, dithered": dithered,
    "palette of 8": palette,
    "16 bits": sixteen_bits,
    "12 bits in 16": twelve_bits,
    "dim 10 bits in 16": dim_ten_bits,
    "dark on transparent": dark_on_transparent,
    "light on transparent": light_on_transparent,
    "transparent margin": transparent_margin,
    "small in a corner": small_in_a_corner,
    "off centre": off_centre,
    "a long strip": long_strip,
    "turned by EXIF": turned_by_exif,
    "cut close": cut_close,
    "blurred": blurred,
    "shaken": shaken,
    "a thumbnail": thumbnail,
    "28x28, dark on light": own_size_dark_on_light,
    "a large photo": large_photo,
}
