import pytest
import torch

from mnist_cnn.data import datasets
from mnist_cnn.data.split import hold_out
from mnist_cnn.errors import InputError
from tests.data.test_module import ready

GOLDEN = [8, 19, 37, 42, 44, 56, 71, 90, 93, 95]  # of 100 labels, seed 0


def test_hold_out_takes_each_class_by_its_share() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100)]
    kept, held = hold_out(labels, 10, seed=0)
    assert labels[held].bincount().tolist() == [6, 3, 1]
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(100))
    assert torch.equal(held, held.sort().values)
    assert len(hold_out(labels, 0, seed=0)[1]) == 0


def test_hold_out_draws_at_random_by_the_seed_and_always_the_same() -> None:
    labels = torch.arange(10).repeat(10)
    assert hold_out(labels, 10, seed=0)[1].tolist() == GOLDEN
    assert hold_out(labels, 10, seed=1)[1].tolist() != GOLDEN


def test_the_validation_split_is_stratified_and_fixed_by_the_seed(sample: datasets.Dataset) -> None:
    data, again, other = ready(val_size=500), ready(val_size=500), ready(val_size=500, seed=1)
    assert data.val.labels.bincount().tolist() == [50] * 10
    assert len(data.train.labels) == 3500
    assert torch.equal(data.val.images, again.val.images)
    assert not torch.equal(data.val.images, other.val.images)
    both = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), sample.train.images.flatten(1).unique(dim=0))


def test_folds_are_disjoint_stratified_and_all_of_the_training_images(sample: datasets.Dataset) -> None:
    folds = [ready(val_size=800, fold=fold).val for fold in range(5)]
    assert {tuple(fold.labels.bincount().tolist()) for fold in folds} == {(80,) * 10}
    held_out = torch.cat([fold.images for fold in folds]).flatten(1)
    assert torch.equal(held_out.unique(dim=0), sample.train.images.flatten(1).unique(dim=0))
    with pytest.raises(InputError, match=r"data.fold=5 does not exist .*: data.val_size=800 makes 5 folds"):
        ready(val_size=800, fold=5)
    with pytest.raises(InputError, match=r"data.fold=1 does not exist .*: give data.val_size"):
        ready(fold=1)


def test_few_training_images_are_stratified_and_may_be_repeated() -> None:
    few = ready(val_size=500, train_size=100)
    assert few.train.labels.bincount().tolist() == [10] * 10
    repeated = ready(val_size=500, train_size=100, epoch_size=250)
    assert len(repeated.train.labels) == 250
    distinct, counts = repeated.train.images.flatten(1).unique(dim=0, return_counts=True)
    assert torch.equal(distinct, few.train.images.flatten(1).unique(dim=0))
    assert set(counts.tolist()) == {2, 3}
    assert repeated.train.labels.bincount().tolist() == [25] * 10
    assert torch.equal(repeated.val.images, few.val.images)


@pytest.mark.parametrize("key", ["train_size", "epoch_size"])
def test_more_images_than_there_are_is_an_input_error(key: str) -> None:
    with pytest.raises(InputError, match=rf"data.{key}=3501 is too many: there are 3,500 images to train on"):
        ready(val_size=500, **{key: 3501})


def test_an_epoch_has_each_image_at_least_once() -> None:
    with pytest.raises(InputError, match="data.epoch_size=99 is too few: there are 100 images to train on"):
        ready(train_size=100, epoch_size=99)


@pytest.mark.parametrize("val_size", [4000, 5000])
def test_a_validation_split_that_leaves_nothing_to_train_on_is_refused(val_size: int) -> None:
    message = f"data.val_size={val_size} leaves nothing to train on: mnist-sample has 4,000 training images"
    with pytest.raises(InputError, match=message):
        ready(val_size=val_size)
