"""MNISTDataModule: a data set in memory as bytes, sliced by whole batches, in an order that can be resumed."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from mnist_cnn.data import datasets
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.download import Unreachable, checked_mirrors
from mnist_cnn.errors import InputError, whole_number

log = logging.getLogger(__name__)

EVALUATION_BATCH = 500  # images; a matter of speed and memory alone


class BatchOrder(Sampler[Tensor]):
    """The indices of each batch of an epoch, in an order that is a function of (seed, epoch) alone.

    Without a seed the order is that of the data. With several processes (`rank` of `world`) each takes every
    world-th image; the order then repeats its first images so that all have equally many, as DDP needs.
    The last batch may be short. `state_dict` says where in the epoch the next batch stands. The order is drawn on the
    CPU, the same for every `device`, and brought there once an epoch. Indices of `at_once` batches come together.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        at_once: int = 1,
    ) -> None:
        self.images, self.batch_size, self.seed, self.rank, self.world = images, batch_size, seed, rank, world
        self.device, self.at_once = device, at_once
        self.epoch = self.batch = self._start = 0

    def __len__(self) -> int:
        return -(-self._share() // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        self.batch, self._start = self._start, 0  # an epoch resumed in the middle is resumed once
        rest = self.indices().to(self.device)[self.batch * self.batch_size :]
        for indices in torch.split(rest, self.at_once * self.batch_size):
            self.batch += -(-len(indices) // self.batch_size)
            yield indices

    def indices(self) -> Int64[Tensor, " share"]:
        """Return all indices of this process's share of the epoch, in order."""
        if self.seed is None:
            order = torch.arange(self.images)
        else:  # two numbers make one seed: neighbouring seeds must not share epochs
            generator = torch.Generator().manual_seed(self.seed * 2**20 + self.epoch)
            order = torch.randperm(self.images, generator=generator)
        if self.seed is not None and self.world > 1:
            order = torch.cat([order, order[: self._share() * self.world - self.images]])
        return order[self.rank :: self.world]

    def _share(self) -> int:
        if self.seed is None:
            return len(range(self.rank, self.images, self.world))
        return -(-self.images // self.world)

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins; the place within it stays if it is the one resumed."""
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the next batch stands."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there."""
        self.epoch = whole_number("the epoch to resume in", state["epoch"], 0)
        self._start = whole_number("the batch to resume at", state["batch"], 0, len(self))


class ResumableLoader(DataLoader[tuple[Tensor, ...]]):
    """A DataLoader that says where it stands, so that Lightning can resume within an epoch.

    Where its order gives several batches at once they come as a list; its length counts batches all the same.
    """

    def __init__(self, images: Images, order: BatchOrder) -> None:
        def collate(parts: Any) -> Any:
            if order.at_once == 1:
                return parts
            return list(zip(*(torch.split(part, order.batch_size) for part in parts), strict=True))

        # a generator of its own, since to iterate over a DataLoader draws from it, though nothing comes of it here
        generator = torch.Generator()
        super().__init__(
            TensorDataset(*images), sampler=order, batch_size=None, collate_fn=collate, generator=generator
        )
        self.order = order

    def state_dict(self) -> dict[str, int]:
        """Where the next batch stands."""
        return self.order.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on there."""
        self.order.load_state_dict(state)


class MNISTDataModule(pl.LightningDataModule):
    """torchvision's MNIST (or a relative) in memory: batches of images (n, 1, 28, 28) uint8 and labels (n,) int64.

    `name` is one of mnist, fashion_mnist, kmnist, qmnist, sample. `val_size` of the 60,000 training images are held
    out, stratified, for validation. The last short batch is kept: 60,000 images in batches of 64 are 938 steps.
    Where `steps_per_execution` (Keras's word) is set to more than 1, training batches come in lists of so many, for
    DigitClassifier and a Trainer whose only option is max_epochs: clipping, accumulation, precision, limits are lost.
    `fallback` says what to do where no source of MNIST answers: "sample" takes the embedded sample, "error" raises.
    Raises InputError for values that cannot be used.
    """

    def __init__(
        self,
        dir: str | Path = "data",  # noqa: A002 - the configuration's word
        name: str = "mnist",
        mirrors: Sequence[str] | str = (),
        fallback: str = "sample",
        val_size: int = 0,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        datasets.check(name, mirrors, fallback, val_size, batch_size)
        self.source, self.fallback, self.val_size, self.batch_size = name, fallback, val_size, batch_size
        self.dir, self.mirrors, self.seed = Path(dir), checked_mirrors(mirrors), seed
        self.dataset: datasets.Dataset | None = None
        self.steps_per_execution = 1

    def prepare_data(self) -> None:
        """Bring the files into `dir`, once per machine, or say loudly that the sample stands in for them."""
        if self.dataset or self.source == datasets.SAMPLE or datasets.is_complete(self.source, self.dir):
            return
        try:
            datasets.fetch(self.source, self.dir, self.mirrors)
        except Unreachable as error:
            if not self._sample_may_stand_in():
                raise
            log.warning("WARNING: %s", error)
            log.warning(
                "WARNING: MNIST cannot be reached. TRAINING ON A SAMPLE INSTEAD: 4,000 images to train on, 1,000 to "
                "test on, dataset 'mnist-sample'. For MNIST itself give data.mirrors or data.dir."
            )

    def setup(self, stage: str | None = None) -> None:
        """Read the data set and split it."""
        if self.dataset is None:
            self.dataset = self._read()
            train = self.dataset.train
            if self.val_size >= len(train.labels):
                raise InputError(
                    f"data.val_size={self.val_size} leaves nothing to train on: "
                    f"{self.dataset.name} has {len(train.labels):,} training images"
                )
            kept, held = datasets.hold_out(train.labels, self.val_size, self.seed)
            self.train = Images(train.images[kept], train.labels[kept])
            self.val = Images(train.images[held], train.labels[held])

    def train_dataloader(self) -> ResumableLoader:
        """The training images, in an order of their own each epoch."""
        return self._loader(self.train, self.batch_size, self.seed, self.steps_per_execution)

    def val_dataloader(self) -> list[ResumableLoader]:
        """The images held out; no loader if there are none."""
        return [self._loader(self.val, EVALUATION_BATCH)] if self.val_size else []

    def test_dataloader(self) -> ResumableLoader:
        """The official test images."""
        assert self.dataset is not None
        return self._loader(self.dataset.test, EVALUATION_BATCH)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says of the data: the name of the data set."""
        return {"dataset": self.dataset.name} if self.dataset else {}

    def steps_per_epoch(self, world: int = 1) -> int:
        """Count the batches of an epoch for each of `world` processes, after `setup`."""
        return len(BatchOrder(len(self.train.labels), self.batch_size, self.seed, world=world))

    def _read(self) -> datasets.Dataset:
        if self.source != datasets.SAMPLE and datasets.is_complete(self.source, self.dir):
            return datasets.read(self.source, self.dir)
        if self.source == datasets.SAMPLE or self._sample_may_stand_in():
            return datasets.sample()
        raise InputError(f"data.dir={self.dir} does not hold {self.source}")

    def _sample_may_stand_in(self) -> bool:
        return self.source == "mnist" and self.fallback == "sample"  # it is a sample of digits alone

    def _loader(self, images: Images, batch_size: int, seed: int | None = None, at_once: int = 1) -> ResumableLoader:
        rank, world, device = 0, 1, torch.device("cpu")
        if self.trainer:
            rank, world = self.trainer.global_rank, self.trainer.world_size
            device = self.trainer.strategy.root_device  # 47 MB stay there; batches are cut where they are used
        order = BatchOrder(len(images.labels), batch_size, seed, rank, world, device, at_once)
        return ResumableLoader(Images(*(part.to(device) for part in images)), order)
