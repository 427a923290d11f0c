"""Name what pictures show: `python -m mnist_cnn.predict RUN IMAGE... [--device auto] [--json | --csv]`.

A picture is a PNG, JPEG, GIF, WebP, TIFF or BMP of one digit, or of what the run was trained on: a photo, a
scan, a drawing, a plot or a screenshot.
Pictures that cannot be read are reported on standard error, and the exit status is 2; the others are classified.
"""

import csv
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_cnn.cli import DEVICES, Parser, run_command
from mnist_cnn.errors import InputError
from mnist_cnn.files import PICTURES, natural_order
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.terminal import waiting

_BATCH = 1000  # pictures in memory and per forward pass: 2.5 times as fast as one by one (n = 5)


class Answer(NamedTuple):
    """What a picture shows and its probability, or the reason why the picture could not be read.

    `kind` is "digit" or, for other classes, "label": `shown` is then the name of a class. `unfamiliar`: the picture
    does not resemble the training images of that class; None where the run's data are not at hand.
    """

    file: str
    kind: str = "digit"
    shown: int | str | None = None
    probability: float | None = None
    unfamiliar: bool | None = None
    error: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print a line per picture."""
    parser = Parser(prog="python -m mnist_cnn.predict", description="Name what pictures show.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a picture file, a folder of them, or a pattern: 'scans/*.png'",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto: a GPU if there is one")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object per picture")
    form.add_argument(
        "--csv",
        action="store_true",
        help="print the columns file, digit (or label), probability, unfamiliar",
    )
    options = parser.parse_args(arguments)
    files = [file for name in options.images for file in find_pictures(name)]
    table = csv.writer(sys.stdout, lineterminator="\n")
    status = 0
    for number, answer in enumerate(predict(options.run, files, options.device)):
        if options.csv and number == 0:
            table.writerow(("file", answer.kind, "probability", "unfamiliar"))
        if answer.error is not None:
            print(f"error: {answer.error}", file=sys.stderr)
            status = 2
        elif options.json:
            found = {"probability": answer.probability, "unfamiliar": answer.unfamiliar}
            print(json.dumps({"file": answer.file, answer.kind: answer.shown, **found}))
        elif options.csv:
            table.writerow((answer.file, answer.shown, answer.probability, answer.unfamiliar))
        else:
            hint = "  unlike the training images" if answer.unfamiliar else ""
            print(f"{answer.file}  {answer.shown}  {answer.probability:.4f}{hint}")
    return status


def find_pictures(name: str) -> list[str]:
    """Return the pictures in a folder (or in its folders), those that match a pattern, or the name itself."""
    if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for long names
        files = [*Path(name).iterdir()]
        files = files if any(file.suffix.lower() in PICTURES for file in files) else [*Path(name).rglob("*")]
        found = [str(file) for file in files if file.suffix.lower() in PICTURES]
    else:
        found = [] if os.path.lexists(name) else glob.glob(name)  # noqa: PTH207 - Path.glob has no absolute patterns
    return sorted(found, key=natural_order) or [name]


def predict(run_or_file: str, files: Sequence[str], device: str = "auto") -> Iterator[Answer]:
    """Yield an answer for each picture, in order, computed on `device`: auto, cpu, cuda or mps.

    Raises InputError for an unusable checkpoint or device, RunError if the device fails.
    """
    path = checkpoint_file(run_or_file)  # before importing torch, so that a wrong name fails at once

    with waiting("loading PyTorch"):
        import torch

        from mnist_cnn.data.pictures import read_picture
        from mnist_cnn.model.backend import choose_device, device_errors, use_exact_kernels
        from mnist_cnn.runs.checkpoint import load_classifier
        from mnist_cnn.runs.familiar import load_familiarity

    def read(file: str) -> torch.Tensor | InputError:
        if os.path.isdir(file):  # noqa: PTH112
            return InputError(f"{file} is a folder without pictures")
        try:
            return read_picture(file, classifier.reading)
        except InputError as error:
            return error

    use_exact_kernels()
    with device_errors("try --device cpu"):
        classifier = load_classifier(path, choose_device(device))
        familiarity = load_familiarity(path, classifier)
    for start in range(0, len(files), _BATCH):
        batch = files[start : start + _BATCH]
        pictures = [read(file) for file in batch]
        images = [picture for picture in pictures if isinstance(picture, torch.Tensor)]
        with device_errors("try --device cpu"):
            rows = classifier.predict(torch.stack(images)).probabilities.tolist() if images else []
            doubts = (
                familiarity.are_unfamiliar(classifier, torch.stack(images)).tolist()
                if familiarity and images
                else [None] * len(images)
            )
        found = zip(rows, doubts, strict=True)
        for file, picture in zip(batch, pictures, strict=True):
            yield _answer(file, picture, found, classifier.classes)


def _answer(
    file: str, picture: object, found: Iterator[tuple[list[float], bool | None]], classes: Sequence[str]
) -> Answer:
    """Return the class and the probability of what was found next, or the error."""
    kind = "digit" if classes == tuple(map(str, range(10))) else "label"
    if isinstance(picture, InputError):
        return Answer(file, kind, error=str(picture))
    row, unfamiliar = next(found)
    label = row.index(max(row))
    return Answer(file, kind, label if kind == "digit" else classes[label], round(max(row), 6), unfamiliar)


if __name__ == "__main__":
    run_command(main)
