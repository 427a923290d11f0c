"""How often a picture is called unlike the training images: `python -m benchmarks.unfamiliar RUN [--data-dir D]`.

Test digits (false alarms), digits and letters drawn by hand, letters of fonts, scribbles, two digits side by
side, and photos and scans of test digits as in tests/disguises. A fresh RUN of the notebook is meant.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.disguises import read_disguised
from benchmarks.own_data import LETTERS, draw, find_fonts
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.pictures import read_picture
from mnist_cnn.model.familiarity import measure_familiarity
from mnist_cnn.runs.trained import load_trained
from tests.disguises import DISGUISES
from tests.live.drawings import Stroke, as_picture, as_points, drawings

LIKE_DIGITS = "IOSZ"
FONTS, SCRIBBLES, PAIRS, PER_DISGUISE = 40, 500, 500, 20


def main() -> None:
    """Print a line per kind of picture: the share that is unfamiliar, and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    trained, draws = load_trained(options.run, options.data_dir), random.Random(0)
    familiarity = measure_familiarity(trained.classifier, trained.data.train)
    assert familiarity is not None
    kinds = {"test images": trained.test.images}
    kinds |= {"digits drawn by hand": read(as_picture(each, 20) for each in hand_drawn_digits())}
    letters = {name: each for name, each in hand_drawn_letters() if name[0] not in LIKE_DIGITS}
    kinds |= {"letters drawn by hand, without IOSZ": read(as_picture(each, 20) for each in letters.values())}
    kinds |= {"letters of fonts, without IOSZ": read(font_letters())}
    kinds |= {"scribbles": read(as_picture(scribble(draws), 20) for _ in range(SCRIBBLES))}
    kinds |= {"two digits side by side": read(pair(trained.test, draws) for _ in range(PAIRS))}
    with TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        places = [97 * number % len(trained.test.labels) for number in range(PER_DISGUISE)]
        shown = [read_disguised(name, trained.test.images[places, 0], places, picture) for name in DISGUISES]
    kinds |= {"test digits disguised": torch.cat(shown)}
    for name, images in kinds.items():
        found = familiarity.are_unfamiliar(trained.classifier, images).float()
        print(f"{name}: {found.mean():.3f}  (n = {len(found):,})", flush=True)


def read(pictures: Iterable[Image.Image]) -> torch.Tensor:
    """Read pictures as `predict` does."""
    images = []
    with TemporaryDirectory() as folder:
        for picture in pictures:
            picture.save(file := Path(folder) / "picture.png")
            images.append(read_picture(file))
    return torch.stack(images)


def hand_drawn_digits() -> Iterator[list[Stroke]]:
    """Yield the digits of tests/live/strokes.json."""
    yield from ([as_points(stroke) for stroke in each["strokes"]] for each in drawings("plain"))


def hand_drawn_letters() -> Iterator[tuple[str, list[Stroke]]]:
    """Yield the capital letters of letters.json, two of each."""
    for number, each in enumerate(json.loads(Path(__file__).with_name("letters.json").read_text())):
        yield f"{each['letter']}{number % 2}", [as_points(stroke) for stroke in each["strokes"]]


def font_letters() -> Iterator[Image.Image]:
    """Yield the letters of evenly chosen fonts."""
    fonts = find_fonts()
    chosen = fonts[:: max(1, len(fonts) // FONTS)]
    yield from (draw(letter, font) for font in chosen for letter in LETTERS if letter not in LIKE_DIGITS)


def scribble(draws: random.Random) -> list[Stroke]:
    """Return two to four strokes of random points."""
    strokes = []
    for _ in range(draws.randint(2, 4)):
        stroke = [(draws.uniform(30, 250), draws.uniform(30, 250))]
        for _ in range(draws.randint(4, 12)):
            x, y = (min(260, max(20, value + draws.gauss(0, 60))) for value in stroke[-1])
            stroke.append((x, y))
        strokes.append(stroke)
    return strokes


def pair(test: Images, draws: random.Random) -> Image.Image:
    """Put two test digits side by side, dark on white."""
    digits = [test.images[draws.randrange(len(test.labels)), 0].numpy() for _ in range(2)]
    inked = [digit[:, digit.max(axis=0) > 50] for digit in digits]
    gap, edge = np.zeros((28, draws.randint(2, 6)), np.uint8), np.zeros((28, 4), np.uint8)
    return Image.fromarray(255 - np.kron(np.hstack([edge, inked[0], gap, inked[1], edge]), np.ones((4, 4), np.uint8)))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
