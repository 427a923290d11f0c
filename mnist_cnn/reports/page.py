"""A page is one HTML file with its pictures inside: it makes no request, opens from a mail, and prints."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from mnist_cnn.errors import RunError
from mnist_cnn.files import locked, write_atomically

TEMPLATES = Path(__file__).with_name("templates")
_DPI = 130


class Tile(NamedTuple):
    """A small image of a grid: a PNG file, the text below it, and where it leads to (nowhere if empty)."""

    png: bytes
    text: str
    link: str = ""

    def data_url(self) -> str:
        """Return the image as a URL that contains it."""
        return _data_url(self.png)


class Picture(NamedTuple):
    """A figure with its name as a file, its title, a caption that says how to read it, and its finding in words.

    `draw` is called when the figure is needed. A page shows `tiles` in its place, if there are any.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]
    finding: str = ""
    tiles: Sequence[Tile] = ()

    def png(self) -> bytes:
        """Draw the figure."""
        drawn = io.BytesIO()
        self.draw().savefig(drawn, dpi=_DPI, format="png")
        return drawn.getvalue()

    def image(self) -> tuple[str, int]:
        """Return the drawn figure as a URL that contains it, and its width in pixels."""
        png = self.png()
        return _data_url(png), int.from_bytes(png[16:20])  # where a PNG file has its width


class Page(NamedTuple):
    """A Jinja template, and what it is filled with."""

    template: Path
    values: dict[str, Any]
    pictures: list[Picture]

    def html(self) -> str:
        """Fill the template. Text from a run is escaped."""
        loader = FileSystemLoader(self.template.parent)
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        return environment.get_template(self.template.name).render(self.values, pictures=self.pictures)

    def write(self, file: Path) -> None:
        """Write the page. Raises RunError if it cannot be written."""
        html = self.html().encode()
        try:
            with locked(file.with_name(f".{file.name}.lock")):  # another process may end the same sweep now
                _write(file, html)
        except OSError as error:
            raise _cannot_write(file, error) from error

    def write_pictures(self, folder: Path) -> None:
        """Write each picture as a PNG file. Raises RunError if one cannot be written."""
        for picture in self.pictures:
            name = re.sub(r"[^\w.-]", "_", picture.name)  # it may come from a stranger's run
            _write(folder / f"{name}.png", picture.png())


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise _cannot_write(file, error) from error


def _cannot_write(file: Path, error: OSError) -> RunError:
    return RunError(f"{file} cannot be written: {error.strerror or error}")
