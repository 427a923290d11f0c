"""A page is one HTML file with its pictures inside: it makes no request, opens from a mail, and prints."""

import base64
import io
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from mnist_cnn.errors import RunError
from mnist_cnn.files import write_atomically

_DPI = 130
_COLOURS = 128  # of a PNG's palette: a third of the bytes, and no difference to the eye


class Picture(NamedTuple):
    """A figure with its name as a file, its title, and a caption that says how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """Draw the figure."""
        drawn, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, dpi=_DPI, format="png")
        palette = Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        palette.save(small, "png")
        return small.getvalue()

    def data_url(self) -> str:
        """Return the drawn figure as a URL that contains it."""
        return f"data:image/png;base64,{base64.b64encode(self.png()).decode()}"


class Page(NamedTuple):
    """What a template in templates/ is filled with."""

    template: str
    values: dict[str, Any]
    pictures: list[Picture]

    def html(self) -> str:
        """Fill the template. Text from a run is escaped."""
        folder = FileSystemLoader(Path(__file__).with_name("templates"))
        environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        return environment.get_template(self.template).render(self.values, pictures=self.pictures)

    def write(self, file: Path) -> None:
        """Write the page. Raises RunError if it cannot be written."""
        _write(file, self.html().encode())

    def write_pictures(self, folder: Path) -> None:
        """Write each picture as a PNG. Raises RunError if one cannot be written."""
        for picture in self.pictures:
            _write(folder / f"{picture.name}.png", picture.png())


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror or error}") from error
