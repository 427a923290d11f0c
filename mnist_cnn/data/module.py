"""MNISTDataModule: a data set in memory as bytes, scaled to 0-1 on the device."""

import logging
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from mnist_cnn.data import datasets
from mnist_cnn.data.augment import Augmenter
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.download import Unreachable
from mnist_cnn.data.order import EpochOrder, InMemory, ResumableLoader, load_batches
from mnist_cnn.data.own import read_own
from mnist_cnn.data.split import check_fold, epoch_indices, hold_out
from mnist_cnn.errors import InputError, did_you_mean, one_of
from mnist_cnn.schema import Augmentation, Reading

if TYPE_CHECKING:
    from typing import Never as Nothing  # type checkers refuse unknown arguments
else:
    Nothing = object

log = logging.getLogger(__name__)

_IN_MEMORY = "all images are in memory, on the device: remove it"
_INSTEAD = dict.fromkeys(("data_dir", "root"), "it is called dir")
_INSTEAD |= dict.fromkeys(("num_workers", "pin_memory", "persistent_workers"), _IN_MEMORY)
_FALLBACKS = ("sample", "error")
_DEFAULT_DIR = "data"
_EVALUATION_BATCH = 250  # images; affects speed and memory only


class MNISTDataModule(pl.LightningDataModule):
    """torchvision's MNIST, a relative of it, or your own pictures.

    Batches are images (n, 1, 28, 28) uint8 and labels (n,) int64.

    - `dir`: the folder with the files; missing files are downloaded into it. For your own pictures: a folder with a
      folder per class, a .csv or a .npz file.
    - `name`: mnist, fashion_mnist, kmnist, qmnist, sample, or folder for your own.
    - `mirrors`: http, https or file URLs to download from, before torchvision's own mirrors.
    - `fallback`: if MNIST cannot be downloaded, "sample" uses the embedded sample and "error" raises an error. With
      `dir` or `mirrors` it is always an error.
    - `val_size`: the number of training images held out for validation, stratified.
    - `fold`: which of the 60,000 / val_size disjoint validation splits to hold out.
    - `train_size`: the number of the other images to train on, stratified; None: all.
    - `epoch_size`: the number of images per epoch. If there are fewer, they are repeated. None: each image once.
    - `batch_size`: the last, short batch is kept: 60,000 images in batches of 64 are 938 steps.
    - `seed`: of the split, and of the order, which differs from epoch to epoch.
    - `augmentation`: distorts training images anew in each epoch; they are then floats 0-1.
    - `reading`: how your own pictures become 28x28: "ink" or "resize", see `read_picture`.
    - `test_size`: the share of your own pictures that is held out for the test, unless they are split already.
    - `floats`: all images are floats 0-1, for networks other than `DigitClassifier`, which also accepts bytes.

    A checkpoint stores all but `augmentation` and `floats`. Raises InputError for unknown names.
    """

    def __init__(
        self,
        dir: str | Path = _DEFAULT_DIR,  # noqa: A002 - the configuration's word
        name: str = "mnist",
        mirrors: Sequence[str] | str = (),
        fallback: str = "sample",
        val_size: int = 0,
        fold: int = 0,
        train_size: int | None = None,
        epoch_size: int | None = None,
        batch_size: int = 64,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        floats: bool = False,
        reading: Reading = "ink",
        test_size: float = 0.2,
        **others: Nothing,
    ) -> None:
        super().__init__()
        for key in others:
            known = [name for name in signature(MNISTDataModule).parameters if name != "others"]
            hint = _INSTEAD.get(key, f"it has {', '.join(known)}{did_you_mean(key, known)}")
            raise InputError(f"MNISTDataModule has no argument {key}: {hint}")
        for key, size, least in (
            ("fold", fold, 0), ("val_size", val_size, 0), ("train_size", train_size, 1), ("epoch_size", epoch_size, 1),
            ("batch_size", batch_size, 1),
        ):  # fmt: skip
            if size is not None and not (isinstance(size, int) and size >= least):
                raise InputError(f"{key}={size} is out of range: give a whole number, {least} or more")
        self.source, self.fallback = one_of("name", name, datasets.NAMES), one_of("fallback", fallback, _FALLBACKS)
        self.dir, self.mirrors = Path(dir), [mirrors] if isinstance(mirrors, str) else [*mirrors]
        self.val_size, self.fold, self.train_size, self.epoch_size = val_size, fold, train_size, epoch_size
        self.batch_size, self.seed, self.augmentation, self.floats = batch_size, seed, augmentation, floats
        self.reading, self.test_size = reading, test_size
        self.dataset: datasets.Dataset | None = None
        kept = (
            "fallback",
            "reading",
            "test_size",
            "val_size",
            "fold",
            "train_size",
            "epoch_size",
            "batch_size",
            "seed",
        )
        options = {"dir": str(dir), "name": name, "mirrors": self.mirrors} | {key: getattr(self, key) for key in kept}
        self.save_hyperparameters(options, logger=False)

    def prepare_data(self) -> None:
        """Download missing files into `dir`, once per machine, or warn that the sample is used instead."""
        if (
            self.dataset
            or self.source in (datasets.SAMPLE, datasets.FOLDER)
            or datasets.is_complete(self.source, self.dir)
        ):
            return
        if self._is_dir_given() and datasets.holds_pictures(self.dir):
            raise InputError(
                f"data.dir={self.dir} holds PNG files, not MNIST's four files: to train on them, give data=folder, too"
            )
        try:
            datasets.fetch(self.source, self.dir, self.mirrors)
        except Unreachable as error:
            if not self._may_use_sample():
                raise InputError(f"data.dir={self.dir} does not hold {self.source}, and {error}") from error
            log.warning("WARNING: %s", error)
            log.warning(
                "WARNING: MNIST cannot be reached. TRAINING ON A SAMPLE INSTEAD: 4,000 training and 1,000 test images "
                "(dataset 'mnist-sample'). To train on MNIST itself, give data.mirrors or data.dir."
            )

    def setup(self, stage: str | None = None) -> None:
        """Read the data set and hold out the validation images."""
        if self.dataset is not None:
            return
        self.dataset = self._read()
        train = self.dataset.train
        check_fold(self.dataset.name, len(train.labels), self.val_size, self.fold)
        kept, held = hold_out(train.labels, self.val_size, self.seed, self.fold)
        chosen = kept[epoch_indices(train.labels[kept], self.train_size, self.epoch_size, self.seed)]
        self.train, self.val = train.subset(chosen), train.subset(held)

    def train_dataloader(self) -> ResumableLoader:
        """Return the training images, in a different order each epoch."""
        self._get_ready()
        augmenter = None
        if self.augmentation:
            device = self._device()
            if device.type == "mps":
                log.info("augmentation runs on the CPU: MPS has no bicubic resampling")
                device = torch.device("cpu")
            augmenter = Augmenter(self.augmentation, len(self.train.labels), self.seed, device)
        return self._loader(self.train, self.batch_size, self.seed, augmenter)

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Return the held-out images, or no loader if there are none."""
        self._get_ready()
        return self._loader(self.val, _EVALUATION_BATCH) if self.val_size else []

    def test_dataloader(self) -> ResumableLoader:
        """Return the official test images."""
        self._get_ready()
        assert self.dataset is not None
        return self._loader(self.dataset.test, _EVALUATION_BATCH)

    def predict_dataloader(self) -> ResumableLoader:
        """Return the official test images."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores: the name of the data set, and how your own pictures were read."""
        if self.dataset is None:
            return {}
        own = {"reading": self.reading, "test_size": self.test_size} if self.source == datasets.FOLDER else {}
        return {"dataset": self.dataset.name, **own}

    def _get_ready(self) -> None:
        """Prepare the data if no Trainer did: loaders can be used without one."""
        if self.dataset is None:
            self.prepare_data()
            self.setup()

    def _read(self) -> datasets.Dataset:
        if self.source == datasets.FOLDER:
            return read_own(self.dir, self.reading, self.test_size)
        if self.source != datasets.SAMPLE and datasets.is_complete(self.source, self.dir):
            return datasets.read(self.source, self.dir)
        if self.source == datasets.SAMPLE or self._may_use_sample():
            return datasets.sample()
        raise InputError(f"data.dir={self.dir} does not hold {self.source}")

    def _may_use_sample(self) -> bool:
        """Whether to fall back to the sample: never if the user gave dir or mirrors."""
        given = self._is_dir_given() or bool(self.mirrors)
        return self.source == "mnist" and self.fallback == "sample" and not given

    def _is_dir_given(self) -> bool:
        return self.dir != Path(_DEFAULT_DIR)

    def _loader(
        self, images: Images, batch_size: int, seed: int | None = None, augmenter: Augmenter | None = None
    ) -> ResumableLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = EpochOrder(len(images.labels), seed, rank, world)
        return load_batches(InMemory(images, order, self._device(), augmenter, self.floats), batch_size)

    def _device(self) -> torch.device:
        """Return the device that holds all images (47 MB); batches are sliced there."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
