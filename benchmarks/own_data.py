"""Your own pictures, on data that nobody here made: `python -m benchmarks.own_data digits|letters|mnist|imbalance`.

digits     scikit-learn's 1,797 digits of 8x8 as PNG files, beside logistic regression on the same split; from a
           notebook's run (`--notebook RUN`) and from scratch, with 5, 20 and 100 pictures a class
letters    capital letters of this machine's fonts, distorted; trained and tested on different fonts
mnist      MNIST as 70,000 PNG files in folders: the same bytes, seconds of the first and the second start
imbalance  MNIST with a tenth of the images of three classes, with and without class_weights
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_cnn.data.datasets import DIGITS, read
from mnist_cnn.data.own import read_own
from mnist_cnn.data.pictures import read_picture
from mnist_cnn.data.split import hold_out_share
from mnist_cnn.runs.checkpoint import load_classifier
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.start import Options, train
from tests.live.drawings import as_picture, as_points

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
RARE = (2, 5, 8)  # the classes that imbalance thins out


def main() -> None:
    """Measure one of the four, in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "letters", "mnist", "imbalance"])
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="a folder with MNIST")
    parser.add_argument("--notebook", type=Path, help="a run of the notebook, to start from (digits)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep pictures and runs in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"digits": digits, "letters": letters, "mnist": mnist, "imbalance": imbalance}[options.what](
            options, options.keep or Path(folder)
        )


def digits(options: argparse.Namespace, folder: Path) -> None:
    """Compare with logistic regression on the same split, and a fresh start with the notebook's weights."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    found = load_digits()
    small = [
        Image.fromarray(np.rint(255 - image * 255 / 16).astype(np.uint8)) for image in found.images
    ]  # dark on light
    pixels = np.stack([np.asarray(image.resize((80, 80), Image.Resampling.BICUBIC)) for image in small])
    write(folder / "digits", pixels, [str(label) for label in found.target])
    data = read_own(folder / "digits", "ink", 0.2)
    print(f"{len(data.train.labels)} training and {len(data.test.labels)} test images")
    by_class = np.argsort(found.target, kind="stable")  # as folders list them
    train_indices, test_indices = hold_out_share(torch.from_numpy(found.target[by_class]), 0.2, seed=0)
    x, y = found.data[by_class], found.target[by_class]
    regression = LogisticRegression(max_iter=10_000).fit(x[train_indices], y[train_indices])
    print(f"logistic regression on the 8x8 pixels: {regression.score(x[test_indices], y[test_indices]):.4f}")
    every = [f"data.dir={folder / 'digits'}", "trainer.max_epochs=20"]
    seeds = range(options.seeds)
    report("all, read as they are", [run(folder, *every, "data.reading=resize", seed=seed) for seed in seeds])
    for size in (None, 5, 20, 100):
        sizes = [] if size is None else [f"data.train_size={10 * size}", f"data.epoch_size={len(data.train.labels)}"]
        for source in (None, options.notebook) if options.notebook else (None,):
            starts = [] if source is None else [f"start_from={source}"]
            origin = "from scratch" if source is None else "from the notebook's run"
            results = [run(folder, *every, *sizes, *starts, seed=seed) for seed in seeds]
            report(f"{size or 'all'} a class, {origin}", results)


def letters(options: argparse.Namespace, folder: Path) -> None:
    """Train on three of four fonts, and test on the fourth."""
    fonts = find_fonts()
    print(f"{len(fonts)} fonts")
    for part, chosen in (("train", [f for i, f in enumerate(fonts) if i % 4]), ("test", fonts[::4])):
        for number, font in enumerate(chosen):
            for letter in LETTERS:
                target = folder / "letters" / part / letter / f"{number}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                draw(letter, font).save(target)
    for augment in ("none", "elastic"):
        overrides = [f"data.dir={folder / 'letters'}", "trainer.max_epochs=20", f"augment={augment}"]
        results = [run(folder, *overrides, seed=seed) for seed in range(options.seeds)]
        report(f"augment={augment}", results)
        print(f"  of the 52 letters of letters.json, drawn by hand: {[read_by_hand(each['run']) for each in results]}")


def mnist(options: argparse.Namespace, folder: Path) -> None:
    """Read 70,000 files twice, and compare every byte."""
    data = read("mnist", options.data_dir)
    for part, images in (("train", data.train), ("test", data.test)):
        write(folder / "mnist" / part, images.images[:, 0].numpy(), [DIGITS[label] for label in images.labels])
    for start in ("first", "second"):
        begin = time.monotonic()
        found = read_own(folder / "mnist", "ink", 0.2)
        print(
            f"{start} start: {time.monotonic() - begin:.1f} s for {len(found.train.labels) + len(found.test.labels):,}"
        )
    for ours, theirs in ((found.train, data.train), (found.test, data.test)):
        same = sorted(zip(ours.labels.tolist(), map(bytes, ours.images.numpy()), strict=True)) == sorted(
            zip(theirs.labels.tolist(), map(bytes, theirs.images.numpy()), strict=True)
        )
        print(f"the same bytes: {same}")
    overrides = [f"data.dir={folder / 'mnist'}", "trainer.max_epochs=5"]
    report("5 epochs", [run(folder, *overrides, seed=seed) for seed in range(options.seeds)])


def imbalance(options: argparse.Namespace, folder: Path) -> None:
    """Thin out three classes of MNIST's training images, and weight the loss or not."""
    data = read("mnist", options.data_dir)
    labels = data.train.labels.numpy()
    kept = np.concatenate([np.flatnonzero(labels == c)[:: 10 if c in RARE else 1] for c in range(10)])
    arrays = {"x_train": data.train.images[kept, 0].numpy(), "y_train": labels[kept]}
    arrays |= {"x_test": data.test.images[:, 0].numpy(), "y_test": data.test.labels.numpy()}
    np.savez(folder / "mnist.npz", **arrays)
    for weights in ("null", "balanced"):
        overrides = [f"data.dir={folder / 'mnist.npz'}", "trainer.max_epochs=2", f"class_weights={weights}"]
        results = [run(folder, *overrides, seed=seed) for seed in range(options.seeds)]
        report(f"class_weights={weights}", results)
        rare = [statistics.mean(each["class_accuracy"][str(label)] for label in RARE) for each in results]
        print(f"  the three rare classes: {statistics.mean(rare):.4f} ± {statistics.stdev(rare):.4f}")


def write(folder: Path, pixels: NDArray[np.uint8], names: Sequence[str]) -> None:
    """Write images as PNG files, in a folder per class."""
    for name in {*names}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (image, name) in enumerate(zip(pixels, names, strict=True)):
        Image.fromarray(image).save(folder / name / f"{number}.png")


def find_fonts() -> list[str]:
    """Return a font file per family and style that fontconfig knows and that has distinct capital letters."""
    listed = subprocess.run(["fc-list", ":lang=en", "file"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    files = sorted(line.partition(":")[0] for line in listed.splitlines())
    return [file for file in files if file.endswith((".ttf", ".otf")) and is_alphabet(file)]


def is_alphabet(file: str) -> bool:
    """Whether a font draws 26 letters that differ: symbols and fallback boxes do not."""
    try:
        return len({draw(letter, file).tobytes() for letter in LETTERS}) == len(LETTERS)
    except OSError:
        return False


def draw(letter: str, font: str) -> Image.Image:
    """Draw a letter, dark on light, 96 pixels high."""
    image = Image.new("L", (192, 192), 255)
    ImageDraw.Draw(image).text((96, 96), letter, 0, ImageFont.truetype(font, 96), anchor="mm")
    return image


def run(folder: Path, *overrides: str, seed: int) -> dict[str, Any]:
    """Train once. Returns the result."""
    every = ("data=folder", "trainer=cpu", *overrides, f"seed={seed}")
    path = Path(tempfile.mkdtemp(dir=folder))
    return train(compose(*every), Run(path), Options(every, show_bar=False)) | {"run": path}


def read_by_hand(path: Path) -> int:
    """Return how many of the 52 hand-drawn letters of letters.json a run has right; they were drawn before any was."""
    found = json.loads(Path(__file__).with_name("letters.json").read_text())
    file = path / "letter.png"
    right = 0
    classifier = load_classifier(path)
    for each in found:
        as_picture([as_points(stroke) for stroke in each["strokes"]], 20).save(file)
        label = int(classifier.predict(read_picture(file)).labels)
        right += classifier.classes[label] == each["letter"]
    return right


def report(what: str, results: Sequence[dict[str, Any]]) -> None:
    """Print mean and standard deviation of accuracy and macro F1 on the test images."""
    found = {name: [each[name] for each in results] for name in ("test/acc", "test/f1")}
    spread = {name: statistics.stdev(values) if len(values) > 1 else 0.0 for name, values in found.items()}
    said = "  ".join(f"{name} {statistics.mean(values):.4f} ± {spread[name]:.4f}" for name, values in found.items())
    print(f"{what}: {said}  (n = {len(results)})", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
