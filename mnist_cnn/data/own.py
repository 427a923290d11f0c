"""Your own images: pictures in a folder per class, or arrays in a .csv or .npz file.

`PICTURES/train/NAME/*.png` and `PICTURES/test/NAME/*.png`; or `PICTURES/NAME/*.png`, of which a share is held out for
the test. A .csv file has rows of a label and 784 pixels, as Kaggle's; a .npz file x_train, y_train, x_test and y_test,
as Keras's `mnist.load_data` keeps them.
"""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_cnn.data.datasets import Dataset, Images
from mnist_cnn.data.folder import Labelled, Pixels, read_folder
from mnist_cnn.data.images import SIDE
from mnist_cnn.data.split import hold_out_share
from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.files import natural_order
from mnist_cnn.schema import Reading

MOST_CLASSES = 1_000
_SPLIT_SEED = 0  # all seeds of a training share the test images


def read_own(path: Path, reading: Reading, test_size: float) -> Dataset:
    """Read a folder of pictures, a .csv or a .npz file. Its name gets a digest of all images, labels and classes.

    `reading` says how pictures become 28x28 (see `read_picture`), `test_size` which share of each class is held out
    for the test where the data are not split already.
    Raises InputError, naming what is wrong, for anything else, and for fewer than two classes.
    """
    parts = _read_parts(path, reading)
    classes = sorted({name for part in parts for name in part.names}, key=natural_order)
    _check_classes(path, classes)
    images = [Images(torch.from_numpy(part.images)[:, None], _labels(part, classes)) for part in parts]
    if len(images) == 1:
        images = _split(path, images[0], classes, test_size)
    train, test = images
    if missing := {*range(len(classes))} - {*train.labels.tolist()}:
        raise InputError(f"{path}: class {abbreviate(classes[min(missing)])} has test images, but none to train on")
    content = [part.numpy().tobytes() for each in images for part in each]
    digest = hashlib.sha256(b"".join([*content, *(f"{name}\n".encode() for name in classes)])).hexdigest()
    return Dataset(f"{path.resolve().stem}-{digest[:8]}", train, test, tuple(classes))


def _read_parts(path: Path, reading: Reading) -> list[Labelled]:
    """Return the training and the test images; or all in one where they are not split yet."""
    match path.suffix.lower():
        case ".npz":
            return _read_npz(path)
        case ".csv":
            return [_read_csv(path)]
    return read_folder(path, reading)


def _read_csv(file: Path) -> Labelled:
    """Read rows of a label and 784 pixels, 0-255, perhaps below a header."""
    try:
        with file.open(encoding="utf-8-sig") as lines:  # as Excel writes it
            names = [name.strip().lower() for name in lines.readline().split(",")]
        header = not names[0].lstrip("-").isdecimal()
        with warnings.catch_warnings(action="ignore"):  # of an empty table
            table = np.loadtxt(file, delimiter=",", dtype=np.int64, skiprows=int(header), ndmin=2, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not a table of numbers: {error}") from error
    if header and names[-1] == "label" != names[0]:
        raise InputError(f"{file} has its labels in the last column: expected them in the first")
    if not len(table):
        raise InputError(f"{file} has no rows")
    if table.shape[1] != 1 + SIDE * SIDE:
        raise InputError(f"{file} has {table.shape[1]} columns: expected a label and {SIDE * SIDE} pixels")
    return Labelled(_as_images(file, table[:, 1:]), [str(label) for label in table[:, 0]])


def _read_npz(file: Path) -> list[Labelled]:
    """Read x_train, y_train, x_test, y_test."""
    try:
        with np.load(file) as arrays:  # refuses pickles
            found = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
    except KeyError as error:
        raise InputError(f"{file} lacks an array: expected x_train, y_train, x_test and y_test") from error
    except Exception as error:  # zipfile and numpy have many
        raise InputError(f"{file} cannot be read as arrays of numbers ({type(error).__name__})") from error
    for images, labels in found:
        if labels.ndim != 1 or images.shape[:1] != labels.shape or not len(labels):
            raise InputError(f"{file}: expected one label per image, not shapes {images.shape} and {labels.shape}")
    return [Labelled(_as_images(file, images), [str(label) for label in labels]) for images, labels in found]


def _as_images(file: Path, values: NDArray[Any]) -> Pixels:
    if values.dtype.kind not in "iu":
        raise InputError(f"{file}: expected whole numbers of 0 to 255 as pixels, not {values.dtype}")
    if values[0].size != SIDE * SIDE:
        raise InputError(f"{file}: expected images of {SIDE}x{SIDE} pixels, not of shape {values.shape[1:]}")
    if values.max() == 1:
        raise InputError(f"{file}: expected pixels of 0 to 255, but the brightest is 1: multiply them by 255")
    if values.min() < 0 or values.max() > 255:
        raise InputError(f"{file}: expected pixels of 0 to 255, not {values.min()} to {values.max()}")
    return values.astype(np.uint8).reshape(-1, SIDE, SIDE)


def _check_classes(path: Path, classes: Sequence[str]) -> None:
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"{path} has {len(classes)} classes: expected 2 to {MOST_CLASSES:,}")
    alike = [name for name, count in Counter(name.casefold() for name in classes).items() if count > 1]
    if alike and os.name == "nt":  # elsewhere a and A may be two letters
        raise InputError(f"{path} has classes that differ only in upper and lower case: {abbreviate(alike[0])}")


def _labels(part: Labelled, classes: Sequence[str]) -> torch.Tensor:
    numbers = {name: number for number, name in enumerate(classes)}
    return torch.tensor([numbers[name] for name in part.names])


def _split(path: Path, images: Images, classes: Sequence[str], test_size: float) -> list[Images]:
    """Hold out a share of each class."""
    few = [name for name, count in zip(classes, images.labels.bincount().tolist(), strict=True) if count < 2]
    if few:
        raise InputError(f"{path}: class {abbreviate(few[0])} has a single picture: it cannot be split")
    return [images.subset(chosen) for chosen in hold_out_share(images.labels, test_size, _SPLIT_SEED)]
