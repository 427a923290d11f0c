"""Recognise digits in picture files: `python -m mnist_cnn.predict RUN IMAGE... [--json]`.

PNG, JPEG, GIF, WebP or TIFF; photo, scan or drawing, one digit each: `mnist_cnn.data.pictures` brings it into
MNIST's form.
A picture that cannot be read gets a line on standard error and makes the exit status 2; the others are answered.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mnist_cnn.errors import InputError, run_command

_AT_ONCE = 1000  # pictures held in memory


class Answer(NamedTuple):
    """What a picture shows, or why it could not be read."""

    file: str
    digit: int | None = None
    probability: float | None = None
    error: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print a line per picture."""
    parser = argparse.ArgumentParser(prog="python -m mnist_cnn.predict", description="Recognise digits in pictures.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture file of one digit")
    parser.add_argument("--json", action="store_true", help="print a JSON object per line")
    options = parser.parse_args(arguments)
    status = 0
    for answer in predict(options.run, options.images):
        if answer.error is not None:
            print(f"error: {answer.error}", file=sys.stderr)
            status = 2
        elif options.json:
            print(json.dumps({"file": answer.file, "digit": answer.digit, "probability": answer.probability}))
        else:
            print(f"{answer.file}  {answer.digit}  {answer.probability:.4f}")
    return status


def predict(run_or_file: str, files: Sequence[str]) -> Iterator[Answer]:
    """Yield an answer for each picture, in their order.

    Raises InputError if the checkpoint cannot be used.
    """
    import torch

    from mnist_cnn.data.pictures import read_picture
    from mnist_cnn.runs.checkpoint import load_classifier

    classifier = load_classifier(run_or_file)
    for start in range(0, len(files), _AT_ONCE):
        answers: list[Answer] = []
        pictures = []
        for file in files[start : start + _AT_ONCE]:
            try:
                pictures.append(read_picture(file))
                answers.append(Answer(file))
            except InputError as error:
                answers.append(Answer(file, error=str(error)))
        rows = classifier.predict(torch.stack(pictures)).probabilities if pictures else torch.empty(0, 10)
        likeliest = rows.max(dim=1)
        found = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        for answer in answers:
            if answer.error is None:
                digit, probability = next(found)
                answer = answer._replace(digit=digit, probability=round(probability, 6))
            yield answer


if __name__ == "__main__":
    run_command(main)
