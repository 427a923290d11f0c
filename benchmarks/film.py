"""Film the page to draw on: `python -m benchmarks.film PAGE.html [--out benchmarks] [--digits 3 8]`.

Draws digits of tests/live/strokes.json with the mouse in headless Chromium. Writes page.gif and page.png, and for dark
pages page-dark.gif and page-dark.png: 1,660 pixels wide, to be shown 830 wide.
"""

import argparse
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from playwright.sync_api import FloatRect, Page, ViewportSize, sync_playwright

from mnist_cnn.cli import run_command
from mnist_cnn.errors import InputError
from tests.live.drawings import Stroke, as_points, drawings

SIZE: Final[ViewportSize] = {"width": 830, "height": 900}  # the width of a README on GitHub
MARGIN: Final = 10
FRAME: Final = 80  # milliseconds
FRAMES: Final = 24  # while a digit is drawn
HOLD: Final = 700  # milliseconds, after each digit


def main() -> None:
    """Film the page in both themes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.film", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", metavar="PAGE.html", type=Path, help="written by python -m mnist_cnn.page RUN")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--digits", type=int, nargs="+", default=[3, 8])
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("filming needs Chromium: apt-get install chromium")
    if not options.page.is_file():
        raise InputError(f"there is no {options.page}: python -m mnist_cnn.page RUN writes it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        themes: dict[str, Literal["light", "dark"]] = {"": "light", "-dark": "dark"}
        for suffix, theme in themes.items():
            page = browser.new_page(viewport=SIZE, device_scale_factor=2, color_scheme=theme)
            page.goto(options.page.resolve().as_uri())
            page.add_style_tag(content="h1, h2 { visibility: hidden }")  # they would be cut off
            write_film([*film(page, options.digits)], options.out / f"page{suffix}")
        browser.close()


def film(page: Page, digits: Sequence[int]) -> Iterator[tuple[Image.Image, int]]:
    """Draw each digit, and yield pictures of the page with the milliseconds for which each is shown."""
    clip = _clip(page)
    for digit in digits:
        page.locator("#clear").click()
        for _ in _draw(page, _strokes_of(digit)):
            yield _picture(page, clip), FRAME
        yield _picture(page, clip), HOLD


def write_film(frames: Sequence[tuple[Image.Image, int]], path: Path) -> None:
    """Write the frames as PATH.gif, and the last of them as PATH.png, in the colours of the last."""
    pictures, durations = zip(*frames, strict=True)
    still = pictures[-1].quantize(256, kmeans=2)
    still.save(path.with_suffix(".png"), optimize=True)
    reduced = [picture.quantize(palette=still, dither=Image.Dither.NONE) for picture in pictures]
    colours, paper = reduced[0].getpalette() or [], 3 * int(reduced[0].getpixel((0, 0)))
    colours[paper : paper + 3] = pictures[0].getpixel((0, 0))  # Pillow finds a near colour, not always the nearest
    for picture in reduced:
        picture.putpalette(colours)
    first, *others = reduced
    first.save(path.with_suffix(".gif"), save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def _strokes_of(digit: int) -> list[Stroke]:
    drawing = next(each for each in drawings("plain") if each["digit"] == digit)
    return [as_points(flat) for flat in drawing["strokes"]]


def _clip(page: Page) -> FloatRect:
    """Return the part of the page from the answer or the sheet down to the buttons."""
    boxes = [box for name in ("#answer", "#sheet", "#clear") if (box := page.locator(name).bounding_box())]
    top, bottom = min(box["y"] for box in boxes), max(box["y"] + box["height"] for box in boxes)
    return FloatRect(x=0, y=top - MARGIN, width=SIZE["width"], height=bottom - top + 2 * MARGIN)


def _draw(page: Page, strokes: Sequence[Stroke]) -> Iterator[int]:
    """Draw with the mouse; yield the number of points drawn, after every few."""
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    each = max(1, sum(map(len, strokes)) // FRAMES)
    drawn = 0
    for stroke in strokes:
        for place, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x / 280 * box["width"], box["y"] + y / 280 * box["height"])
            if place == 0:
                page.mouse.down()
            drawn += 1
            if drawn % each == 0:
                yield drawn
        page.mouse.up()


def _picture(page: Page, clip: FloatRect) -> Image.Image:
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


if __name__ == "__main__":
    run_command(main)
