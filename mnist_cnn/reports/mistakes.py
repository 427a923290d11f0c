"""The misread images as a grid of small images, each of which can be opened in the page to draw on."""

import base64
import io
from pathlib import Path
from urllib.parse import quote

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mnist_cnn.reports.answers import Answers
from mnist_cnn.reports.page import Tile
from mnist_cnn.reports.plots.answers import SHOWN


def misread_tiles(answers: Answers, page: Path) -> list[Tile]:
    """Return the misread images, at most 24, the most confident first; with links if `page` exists.

    A link ends in `#image=` and the 784 bytes of the image, row by row, 255 for full ink, in base64url without padding.
    """
    tiles = []
    for i in answers.wrong[:SHOWN].tolist():
        label, given = (answers.classes[int(each[i])] for each in (answers.labels, answers.predicted))
        text = f"{label} read as {given}, {_percent(float(answers.confidence[i]))}"
        encoded = base64.urlsafe_b64encode(answers.images[i].numpy().tobytes()).decode().rstrip("=")
        link = f"{quote(page.name)}#image={encoded}" if page.is_file() else ""
        tiles.append(Tile(_to_png(answers.images[i]), text, link))
    return tiles


def _percent(share: float) -> str:
    number = ">99" if share >= 0.995 else f"{100 * share:.0f}"
    return f"{number}\N{NO-BREAK SPACE}%"


def _to_png(image: UInt8[Tensor, "1 28 28"]) -> bytes:
    """Return an image as a PNG file, dark ink on white."""
    file = io.BytesIO()
    Image.fromarray(255 - image[0].numpy()).save(file, "png")
    return file.getvalue()
