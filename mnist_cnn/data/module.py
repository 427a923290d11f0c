"""MNISTDataModule: a data set in memory as bytes, scaled to 0-1 on the device."""

import logging
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Int64
from torch import Tensor

from mnist_cnn.data import datasets
from mnist_cnn.data.augment import Augmentation, Augmenter
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.download import Unreachable
from mnist_cnn.data.order import EpochOrder, InMemory, ResumableLoader, load_batches
from mnist_cnn.errors import InputError, one_of

log = logging.getLogger(__name__)

_FALLBACKS = ("sample", "error")
_NO_NEED = "the images are in memory, on the device: leave it out"
_INSTEAD = {"data_dir": "it is called dir", "root": "it is called dir"} | dict.fromkeys(
    ("num_workers", "pin_memory", "persistent_workers"), _NO_NEED
)
_DEFAULT_DIR = "data"
_EVALUATION_BATCH = 250  # images; affects speed and memory only


class MNISTDataModule(pl.LightningDataModule):
    """torchvision's MNIST, or a relative of it: batches of images (n, 1, 28, 28) uint8 and labels (n,) int64.

    - `dir`: the folder with the files; they are downloaded into it.
    - `name`: mnist, fashion_mnist, kmnist, qmnist, or sample.
    - `mirrors`: where to download from, before torchvision's own mirrors: http, https and file URLs.
    - `fallback`: where no source of MNIST answers, "sample" takes the embedded sample, "error" raises, as it
      always does where `dir` or `mirrors` are given.
    - `val_size`: how many of the 60,000 training images are held out, stratified, for validation.
    - `fold`: which of the 60,000 / val_size disjoint parts that is.
    - `train_size`: how many of the others are trained on, stratified too; None: all.
    - `epoch_size`: how many images an epoch has, repeated if there are fewer; None: each once.
    - `batch_size`: the last, short batch is kept: 60,000 images in batches of 64 are 938 steps.
    - `seed`: of the split and of the order, which differs from epoch to epoch.
    - `augmentation`: training images are floats 0-1, distorted anew in each epoch.
    - `floats`: all images are floats 0-1, as any network takes them. `DigitClassifier` takes bytes, too.

    A checkpoint keeps all but the last two. Raises InputError for unknown names.
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
        **others: object,
    ) -> None:
        super().__init__()
        for key in others:
            hint = _INSTEAD.get(key, f"it has {', '.join(signature(MNISTDataModule).parameters)}")
            raise InputError(f"MNISTDataModule has no argument {key}: {hint}")
        self.save_hyperparameters(
            {
                "dir": str(dir),
                "name": name,
                "mirrors": [mirrors] if isinstance(mirrors, str) else [*mirrors],
                "fallback": fallback,
                "val_size": val_size,
                "fold": fold,
                "train_size": train_size,
                "epoch_size": epoch_size,
                "batch_size": batch_size,
                "seed": seed,
            },
            logger=False,
        )
        self.source, self.fallback = one_of("name", name, datasets.NAMES), one_of("fallback", fallback, _FALLBACKS)
        self.dir, self.mirrors = Path(dir), [mirrors] if isinstance(mirrors, str) else list(mirrors)
        self.val_size, self.fold, self.batch_size, self.seed = val_size, fold, batch_size, seed
        self.train_size, self.epoch_size, self.augmentation = train_size, epoch_size, augmentation
        self.floats = floats
        self.dataset: datasets.Dataset | None = None

    def prepare_data(self) -> None:
        """Download the files into `dir`, once per machine, or warn that the sample stands in for them."""
        if self.dataset or self.source == datasets.SAMPLE or datasets.is_complete(self.source, self.dir):
            return
        if self._is_dir_given() and datasets.holds_pictures(self.dir):
            raise InputError(
                f"data.dir={self.dir} holds PNG files, which cannot be trained on: give MNIST's four files"
            )
        try:
            datasets.fetch(self.source, self.dir, self.mirrors)
        except Unreachable as error:
            if not self._sample_may_stand_in():
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
        if not 0 <= self.val_size < len(train.labels):
            raise InputError(
                f"data.val_size={self.val_size} leaves nothing to train on: "
                f"{self.dataset.name} has {len(train.labels):,} training images"
            )
        folds = len(train.labels) // self.val_size if self.val_size else 1
        if self.fold >= folds:
            there_are = f"data.val_size={self.val_size} makes {folds} folds" if self.val_size else "give data.val_size"
            raise InputError(f"data.fold={self.fold} does not exist (the first is 0): {there_are}")
        kept, held = datasets.hold_out(train.labels, self.val_size, self.seed, self.fold)
        self.train, self.val = _subset(train, self._epoch_indices(kept, train.labels[kept])), _subset(train, held)

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
        """Return the held-out images; no loader if there are none."""
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
        """Return what a checkpoint keeps: the name of the data set."""
        return {"dataset": self.dataset.name} if self.dataset else {}

    def _get_ready(self) -> None:
        """Do what a Trainer does before it asks for a loader."""
        if self.dataset is None:
            self.prepare_data()
            self.setup()

    def _read(self) -> datasets.Dataset:
        if self.source != datasets.SAMPLE and datasets.is_complete(self.source, self.dir):
            return datasets.read(self.source, self.dir)
        if self.source == datasets.SAMPLE or self._sample_may_stand_in():
            return datasets.sample()
        raise InputError(f"data.dir={self.dir} does not hold {self.source}")

    def _epoch_indices(self, kept: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " epoch"]:
        """Return the indices of an epoch's images, of those that are kept for training."""
        for key, size in (("train_size", self.train_size), ("epoch_size", self.epoch_size)):
            if size is not None and size > len(kept):
                raise InputError(f"data.{key}={size} is too many: there are {len(kept):,} images to train on")
        if self.train_size is not None:
            chosen = datasets.hold_out(labels, self.train_size, self.seed)[1]
            kept, labels = kept[chosen], labels[chosen]
        if self.epoch_size is None:
            return kept
        if self.epoch_size < len(kept):
            raise InputError(
                f"data.epoch_size={self.epoch_size} is too few: there are {len(kept):,} images to train on"
            )
        copies, rest = divmod(self.epoch_size, len(kept))
        return torch.cat([kept.repeat(copies), kept[datasets.hold_out(labels, rest, self.seed)[1]]])

    def _sample_may_stand_in(self) -> bool:
        """Whether the sample, of MNIST's digits only, is better than an error: not if the user said where to look."""
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
        """Return where the images lie: 47 MB stay on the device, batches are sliced there."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


def _subset(images: Images, indices: Int64[Tensor, " n"]) -> Images:
    return Images(*(part[indices] for part in images))
