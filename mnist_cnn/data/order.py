"""The order of the images in an epoch, and a DataLoader that can be resumed within one."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

from mnist_cnn.data.augment import Augmenter
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.images import scale


class EpochOrder(DistributedSampler[int]):
    """The indices of an epoch's images, in an order that depends only on (seed, epoch).

    Without a seed it is the order of the data. With several processes (`rank` of `world`), each takes every world-th
    image; in training the first images are repeated so that all processes have equally many, as DDP needs. Lightning
    does not replace a DistributedSampler. If nothing calls `set_epoch`, each pass is the next epoch.
    """

    def __init__(self, images: int, seed: int | None = None, rank: int = 0, world: int = 1) -> None:
        super().__init__(range(images), num_replicas=world, rank=rank)  # type: ignore[arg-type]  # only their number matters
        self.images, self.order_seed, self.rank, self.world = images, seed, rank, world
        self.epoch = self.position = self._start = 0
        self._ended = False

    def __len__(self) -> int:
        if self.order_seed is None:
            return len(range(self.rank, self.images, self.world))
        return -(-self.images // self.world)

    def __iter__(self) -> Iterator[int]:
        if self._ended:
            self.set_epoch(self.epoch + 1)
        self.position, self._start = self._start, 0  # only a resumed epoch starts in the middle
        for index in self.indices()[self.position :].tolist():
            self.position += 1
            self._ended = self.position == len(self)
            yield index

    def indices(self) -> Int64[Tensor, " share"]:
        """Return all indices of this process's share of the epoch, in order."""
        if self.order_seed is None:
            return torch.arange(self.rank, self.images, self.world)
        # not hashed as in augment.py: that would change the weights of every run. Neighbouring seeds share no epochs;
        # seeds 4,096 apart do, since torch uses 32 bits
        generator = torch.Generator().manual_seed(self.order_seed * 2**20 + self.epoch)
        order = torch.randperm(self.images, generator=generator)
        return torch.cat([order, order[: len(self) * self.world - self.images]])[self.rank :: self.world]

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch. Lightning calls this; a resumed epoch keeps its position."""
        self._ended = False
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, and the number of its images that were yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved state."""
        self.epoch, self._start, self._ended = state["epoch"], state["position"], False


class InMemory(Dataset[tuple[Tensor, Tensor]]):
    """Images with their labels, sliced one batch at a time, and augmented in training."""

    def __init__(
        self,
        images: Images,
        order: EpochOrder,
        device: torch.device,
        augmenter: Augmenter | None = None,
        floats: bool = False,
    ) -> None:
        self.images, self.labels = (part.to(device) for part in images)
        self.order, self.augmenter, self.floats = order, augmenter, floats

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.__getitems__([index])[0]
        return image, label

    def __getitems__(self, indices: list[int]) -> TensorDataset:
        """Return a batch, which torch's default collate function also accepts. DataLoader prefers this method."""
        on_cuda = self.labels.is_cuda  # a copy from pinned memory does not wait for the device
        chosen = torch.tensor(indices, pin_memory=on_cuda).to(self.labels.device, non_blocking=on_cuda)
        images = self.images[chosen]
        if self.augmenter:
            images = self.augmenter(images, chosen, self.order.epoch)
        return TensorDataset(scale(images) if self.floats else images, self.labels[chosen])


class ResumableLoader(DataLoader[tuple[Tensor, ...]]):
    """A DataLoader with a state, so that Lightning can resume within an epoch."""

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch; nothing if Lightning replaced the sampler, as overfit_batches does."""
        return self.sampler.state_dict() if isinstance(self.sampler, EpochOrder) else {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved state."""
        if isinstance(self.sampler, EpochOrder):
            self.sampler.load_state_dict(state)


def load_batches(data: InMemory, batch_size: int) -> ResumableLoader:
    """Return a loader of images (batch, 1, 28, 28) and labels (batch,) on the data's device. The last may be short."""
    return ResumableLoader(
        data,
        batch_size=batch_size,
        sampler=data.order,
        collate_fn=_tensors,
        generator=torch.Generator(),  # iterating draws a number, which must not come from the global generator
    )


def _tensors(batch: Any) -> Any:
    return batch.tensors
