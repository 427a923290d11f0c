"""What programs make of a digit: plots, canvases on pages, screenshots, arrays saved as they are."""

import io
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.disguises.drawing import Array, Chance, Digit, enlarge, picture, place

_CANVAS = 320  # pixels


def _save(figure: Figure, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    return Image.open(buffer)


def _plot(digit: Digit, colours: str | None = None, size: tuple[float, float] = (6.4, 4.8)) -> Figure:
    """Return what `plt.imshow(digit, cmap=colours)` draws, in matplotlib's own size unless stated."""
    figure = Figure(figsize=size)
    figure.subplots().imshow(digit, cmap=colours)
    return figure


def plot_gray(digit: Digit, chance: Chance) -> Image.Image:
    return _save(_plot(digit, "gray"))


def plot_gray_reversed(digit: Digit, chance: Chance) -> Image.Image:
    return _save(_plot(digit, "gray_r"))


def plot_viridis(digit: Digit, chance: Chance) -> Image.Image:
    return _save(_plot(digit))


def plot_magma(digit: Digit, chance: Chance) -> Image.Image:
    return _save(_plot(digit, "magma"))


def plot_without_axes(digit: Digit, chance: Chance) -> Image.Image:
    figure = _plot(digit)
    figure.axes[0].set_axis_off()
    return _save(figure)


def plot_with_colour_bar(digit: Digit, chance: Chance) -> Image.Image:
    figure = _plot(digit)
    figure.colorbar(figure.axes[0].images[0])
    return _save(figure)


def plot_with_title(digit: Digit, chance: Chance) -> Image.Image:
    figure = _plot(digit, "gray")
    figure.axes[0].set_title(f"label: {chance.integers(10)}")
    return _save(figure)


def plot_cut_tight(digit: Digit, chance: Chance) -> Image.Image:
    return _save(_plot(digit, "gray"), bbox_inches="tight")


def plot_in_dark_style(digit: Digit, chance: Chance) -> Image.Image:
    white = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), "white")
    with rc_context({"figure.facecolor": "black", "axes.facecolor": "black", **white}):
        return _save(_plot(digit, "gray"))


def _canvas(digit: Digit, chance: Chance, paper: float = 0, ink: float = 1) -> Array:
    return paper + (ink - paper) * place(enlarge(digit), chance, _CANVAS, _CANVAS)


def _on_page(canvas: Array, page: float, chance: Chance, margin: int | None = None) -> Image.Image:
    """Lay a canvas on a page of one tone, with a margin on each side, or somewhere on a large page."""
    if margin is not None:
        return picture(np.pad(canvas, margin, constant_values=page))
    large = np.full((900, 1200), page, dtype=float)
    top, left = (int(chance.integers(40, room - _CANVAS - 40)) for room in large.shape)
    large[top : top + _CANVAS, left : left + _CANVAS] = canvas
    return picture(large)


def black_canvas_margin_5(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(_canvas(digit, chance), 1, chance, 5)


def black_canvas_margin_30(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(_canvas(digit, chance), 1, chance, 30)


def black_image_margin_5(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(digit / 255, 1, chance, 5)


def black_canvas_on_a_large_page(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(_canvas(digit, chance), 1, chance)


def white_canvas_margin_30(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(_canvas(digit, chance, 1, 0), 0.12, chance, 30)


def white_canvas_on_a_large_page(digit: Digit, chance: Chance) -> Image.Image:
    return _on_page(_canvas(digit, chance, 1, 0), 0.12, chance)


def _write(image: Image.Image, place: tuple[int, int], text: str, size: int = 16, fill: Any = 0) -> None:
    ImageDraw.Draw(image).text(place, text, fill=fill, font=ImageFont.load_default(size))


def _window(canvas: Array) -> Image.Image:
    """Return a window: a bar with a title and three round buttons, the canvas, two buttons below it."""
    window = Image.new("RGB", (_CANVAS + 60, _CANVAS + 130), (240, 240, 240))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, window.width, 32), fill=(214, 214, 216))
    for number, colour in enumerate(((237, 106, 94), (245, 191, 79), (98, 197, 84))):
        draw.ellipse((12 + 22 * number, 10, 25 + 22 * number, 23), fill=colour)
    _write(window, (150, 7), "Draw a digit")
    window.paste(picture(canvas).convert("RGB"), (30, 52))
    draw.rectangle((29, 51, 30 + _CANVAS, 52 + _CANVAS), outline=(120, 120, 120))
    for left, text in ((30, "Clear"), (200, "Recognise")):
        box = (left, _CANVAS + 74, left + 150, _CANVAS + 110)
        draw.rounded_rectangle(box, 6, fill=(252, 252, 252), outline=(170, 170, 170))
        _write(window, (left + 40, _CANVAS + 82), text)
    return window


def _screenshot(canvas: Array, chance: Chance) -> Image.Image:
    """Show a window somewhere on a desktop of two colours that blend into each other."""
    colours = chance.uniform(0.1, 0.9, (2, 3))
    along = np.linspace(0, 1, 700)[:, None, None]
    desktop = picture(np.broadcast_to(colours[0] * along + colours[1] * (1 - along), (700, 1000, 3)))
    window = _window(canvas)
    desktop.paste(window, (int(chance.integers(20, 600)), int(chance.integers(20, 230))))
    return desktop


def screenshot_black_canvas(digit: Digit, chance: Chance) -> Image.Image:
    return _screenshot(_canvas(digit, chance), chance)


def screenshot_white_canvas(digit: Digit, chance: Chance) -> Image.Image:
    return _screenshot(_canvas(digit, chance, 1, 0), chance)


def window_alone(digit: Digit, chance: Chance) -> Image.Image:
    return _window(_canvas(digit, chance))


def _notebook(digit: Digit, chance: Chance, page: int, text: int, cell: int) -> Image.Image:
    """Show a cell of code, the line that it prints, and the plot that it shows."""
    image = Image.new("RGB", (900, 560), (page,) * 3)
    ImageDraw.Draw(image).rectangle((80, 20, 880, 86), fill=(cell,) * 3)
    _write(image, (20, 26), f"[{chance.integers(1, 40)}]:", fill=(text,) * 3)
    _write(image, (90, 26), 'plt.imshow(images[0], cmap="gray")', fill=(text,) * 3)
    _write(image, (90, 54), 'print("label:", labels[0])', fill=(text,) * 3)
    _write(image, (90, 104), f"label: {chance.integers(10)}", fill=(text,) * 3)
    image.paste(_save(_plot(digit, "gray", (5, 4))).convert("RGB"), (90, 140))
    return image


def notebook(digit: Digit, chance: Chance) -> Image.Image:
    return _notebook(digit, chance, 255, 20, 245)


def dark_notebook(digit: Digit, chance: Chance) -> Image.Image:
    """The page is dark, the plot's own page is white."""
    return _notebook(digit, chance, 17, 230, 30)


def colours_of_viridis(digit: Digit, chance: Chance) -> Image.Image:
    """Return what `plt.imsave(file, digit)` writes: 28x28 in colour."""
    return Image.fromarray(colormaps["viridis"](digit, bytes=True))


def colours_of_magma_at_280(digit: Digit, chance: Chance) -> Image.Image:
    return _at_280(Image.fromarray(colormaps["magma"](digit, bytes=True)))


def _at_280(image: Image.Image) -> Image.Image:
    return image.resize((280, 280), Image.Resampling.NEAREST)


def zeros_and_ones(digit: Digit, chance: Chance) -> Image.Image:
    return Image.fromarray((digit > 127).astype(np.uint8))


def zeros_and_ones_inverted(digit: Digit, chance: Chance) -> Image.Image:
    return Image.fromarray((digit <= 127).astype(np.uint8))


def zeros_and_ones_in_16_bits(digit: Digit, chance: Chance) -> Image.Image:
    return Image.fromarray((digit > 127).astype(np.uint16))


def zeros_and_ones_at_280(digit: Digit, chance: Chance) -> Image.Image:
    return _at_280(zeros_and_ones(digit, chance))


def zeros_and_ones_inverted_at_280(digit: Digit, chance: Chance) -> Image.Image:
    return _at_280(zeros_and_ones_inverted(digit, chance))


def black_and_white(digit: Digit, chance: Chance) -> Image.Image:
    return zeros_and_ones(digit, chance).point(lambda bit: 255 * bit)


def black_and_white_inverted(digit: Digit, chance: Chance) -> Image.Image:
    return ImageOps.invert(black_and_white(digit, chance))


def a_tenth(digit: Digit, chance: Chance) -> Image.Image:
    return Image.fromarray(digit // 10)


def a_tenth_at_280(digit: Digit, chance: Chance) -> Image.Image:
    return _at_280(a_tenth(digit, chance))


def a_tenth_in_16_bits(digit: Digit, chance: Chance) -> Image.Image:
    return Image.fromarray((digit * 25.7).astype(np.uint16))


PROGRAMS = {
    "imshow, gray": plot_gray,
    "imshow, gray_r": plot_gray_reversed,
    "imshow, viridis": plot_viridis,
    "imshow, magma": plot_magma,
    "imshow, viridis, no axes": plot_without_axes,
    "imshow, viridis, colour bar": plot_with_colour_bar,
    "imshow, gray, title": plot_with_title,
    "imshow, gray, cut tight": plot_cut_tight,
    "imshow, gray, dark style": plot_in_dark_style,
    "black canvas, margin of 5": black_canvas_margin_5,
    "28x28 with a white margin of 5": black_image_margin_5,
    "black canvas, margin of 30": black_canvas_margin_30,
    "black canvas on a large page": black_canvas_on_a_large_page,
    "white canvas, dark margin of 30": white_canvas_margin_30,
    "white canvas on a large dark page": white_canvas_on_a_large_page,
    "screenshot, black canvas": screenshot_black_canvas,
    "screenshot, white canvas": screenshot_white_canvas,
    "a window, black canvas": window_alone,
    "a notebook": notebook,
    "a dark notebook": dark_notebook,
    "imsave, viridis": colours_of_viridis,
    "magma at 280x280": colours_of_magma_at_280,
    "0 and 1": zeros_and_ones,
    "0 and 1, inverted": zeros_and_ones_inverted,
    "0 and 1 in 16 bits": zeros_and_ones_in_16_bits,
    "0 and 1 at 280x280": zeros_and_ones_at_280,
    "0 and 1, inverted, at 280x280": zeros_and_ones_inverted_at_280,
    "0 and 255": black_and_white,
    "0 and 255, inverted": black_and_white_inverted,
    "a tenth of the brightness": a_tenth,
    "a tenth of the brightness at 280x280": a_tenth_at_280,
    "a tenth of the brightness in 16 bits": a_tenth_in_16_bits,
}
