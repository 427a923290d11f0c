"""How many pictures that people take are read correctly: `python -m benchmarks.disguises RUN [--data-dir data]`.

Takes 200 test digits, spread over the set, that the run has right undisguised. Prints the accuracy in each disguise of
`tests/disguises`, worst first.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from mnist_cnn.cli import run_command
from tests.disguises import DISGUISES, disguise

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_cnn.model.classifier import DigitClassifier


def spread(right: "Tensor", count: int, first: int = 0) -> list[int]:
    """Return `count` places where `right` is true, evenly spread from `first` on."""
    places = right.nonzero().flatten()[first:]
    return [int(place) for place in places[:: len(places) // count][:count]]


def read_disguised(name: str, digits: "Tensor", numbers: Sequence[int], file: Path) -> "Tensor":
    """Write each digit as a picture and read it again; a refused picture is black."""
    import torch

    from mnist_cnn.data.pictures import read_picture
    from mnist_cnn.errors import InputError

    images = torch.zeros(len(digits), 28, 28, dtype=torch.uint8)
    for image, digit, number in zip(images, digits.numpy(), numbers, strict=True):
        picture = disguise(name, digit, number)
        picture.save(file, exif=picture.getexif(), compress_level=1)
        try:
            image.copy_(read_picture(file))
        except InputError:
            continue
    return images


def accuracies(
    classifier: "DigitClassifier", digits: "Tensor", labels: "Tensor", numbers: list[int]
) -> dict[str, float]:
    """Return the accuracy in each disguise; a refused picture is wrong."""
    found = {}
    with TemporaryDirectory() as folder:
        for name in DISGUISES:
            images = read_disguised(name, digits, numbers, Path(folder) / "digit.png")
            right = (classifier.predict(images).digits == labels) & (images.amax(dim=(1, 2)) > 0)
            found[name] = float(np.mean(right.numpy()))
    return found


def main() -> None:
    """Choose the digits, disguise them, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disguises", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="a run directory or a checkpoint file")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()

    from mnist_cnn.data import datasets
    from mnist_cnn.runs.checkpoint import load_classifier
    from mnist_cnn.runs.directory import checkpoint_file

    classifier = load_classifier(checkpoint_file(options.run))
    test = datasets.read("mnist", options.data_dir).test
    numbers = spread(classifier.predict(test.images).digits == test.labels, options.count)
    found = accuracies(classifier, test.images[numbers, 0], test.labels[numbers], numbers)
    print(f"| disguise | accuracy (n = {len(numbers)}) |\n|---|---|")
    for name in sorted(found, key=lambda name: found[name]):
        print(f"| {name} | {100 * found[name]:.1f} % |")


if __name__ == "__main__":
    run_command(main)
