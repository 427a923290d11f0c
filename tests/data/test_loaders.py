"""The loaders of MNISTDataModule without a Trainer, and in plain loops."""

import torch
from torch.utils.data import DataLoader, DistributedSampler

from mnist_cnn import ConvNet, MNISTDataModule
from mnist_cnn.schema import Augmentation
from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected


def test_torchs_own_loader_takes_the_data_set() -> None:
    data = MNISTDataModule(name="sample", batch_size=32)
    images, labels = next(iter(DataLoader(data.train_dataloader().dataset, batch_size=32)))
    assert (images.shape, images.dtype, labels.shape) == ((32, 1, 28, 28), torch.uint8, (32,))
    assert torch.equal(images, data.train.images[:32])


def test_floats_can_be_given_to_any_network() -> None:
    images, _ = next(iter(MNISTDataModule(name="sample", floats=True).test_dataloader()))
    assert images.dtype == torch.float32
    assert images.max() == 1
    assert ConvNet()(images).shape == (250, 10)


def test_each_pass_of_a_plain_loop_is_the_next_epoch() -> None:
    loader = MNISTDataModule(name="sample", augmentation=Augmentation(shift=2), train_size=64).train_dataloader()
    (first,), (second,) = list(loader), list(loader)
    assert not torch.equal(first[1], second[1])
    loader.sampler.set_epoch(0)  # type: ignore[attr-defined]
    (again,) = loader
    assert torch.equal(first[0], again[0])
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    (next_one,) = loader
    assert torch.equal(second[0], next_one[0])


def test_lightning_does_not_replace_the_sampler() -> None:
    data = MNISTDataModule(name="sample", val_size=500)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert isinstance(loader.sampler, DistributedSampler)  # type: ignore[union-attr]
