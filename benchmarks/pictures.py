"""How many pictures a second `predict` answers: `python -m benchmarks.pictures RUN [--count 10000] [--rounds 5]`.

The pictures are PNG files of the test images: MNIST's where `--data-dir` has it, else the sample's, again and again.
Prints the median and the range over `--rounds` rounds, after one to warm up, without Python's start and imports.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from PIL import Image

from mnist_cnn.cli import run_command
from mnist_cnn.predict import predict


def write_pictures(folder: Path, data_dir: Path, count: int) -> list[str]:
    """Write `count` PNG files and return their paths."""
    from mnist_cnn.data import datasets  # and with it torch, for which `run_command` prepares the machine first

    dataset = datasets.read("mnist", data_dir) if datasets.is_complete("mnist", data_dir) else datasets.sample()
    images = dataset.test.images[:, 0].numpy()
    paths = [f"{folder}/{number:06}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(images[number % len(images)]).save(path)
    return paths


def seconds(run: str, paths: list[str]) -> float:
    """Time one `predict`, from reading the checkpoint to the last answer."""
    begin = time.perf_counter()
    errors = [answer.error for answer in predict(run, paths) if answer.error is not None]
    assert not errors, errors[0]
    return time.perf_counter() - begin


def main() -> None:
    """Write the pictures, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="a run directory or a checkpoint file")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.data_dir, options.count)
        rates = [len(paths) / seconds(options.run, paths) for _ in range(options.rounds + 1)][1:]
    print(
        f"{options.count:,} pictures, {os.cpu_count()} cores: {median(rates):,.0f} a second "
        f"({min(rates):,.0f} - {max(rates):,.0f}, n = {len(rates)})"
    )


if __name__ == "__main__":
    run_command(main)
