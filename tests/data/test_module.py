from pathlib import Path

import pytest
import torch

from mnist_cnn.data import datasets
from mnist_cnn.data.download import Unreachable
from mnist_cnn.data.module import BatchOrder, MNISTDataModule
from mnist_cnn.errors import InputError


def epoch(order: BatchOrder, number: int) -> list[torch.Tensor]:
    order.set_epoch(number)
    return list(order)


def ready(**options: object) -> MNISTDataModule:
    data = MNISTDataModule(name="sample", **options)
    data.prepare_data()
    data.setup()
    return data


def test_mnist_in_batches_of_64_is_938_steps_and_the_last_has_32() -> None:
    batches = list(BatchOrder(60_000, 64, seed=0))
    assert len(batches) == len(BatchOrder(60_000, 64, seed=0)) == 938
    assert len(batches[-1]) == 32


def test_every_image_comes_once_an_epoch() -> None:
    assert torch.equal(torch.cat(list(BatchOrder(1000, 64, seed=3))).sort().values, torch.arange(1000))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    flat = {(seed, number): torch.cat(epoch(BatchOrder(100, 8, seed), number)) for seed in (0, 1) for number in (0, 1)}
    again = BatchOrder(100, 8, seed=1)
    epoch(again, 0)
    assert torch.equal(torch.cat(epoch(again, 1)), flat[1, 1])
    assert len({tuple(order.tolist()) for order in flat.values()}) == 4  # seed 0's second epoch is not seed 1's first


def test_evaluation_keeps_the_order_of_the_data() -> None:
    assert torch.equal(torch.cat(list(BatchOrder(10, 4))), torch.arange(10))


def test_an_epoch_goes_on_where_the_state_stands() -> None:
    whole = epoch(BatchOrder(100, 8, seed=5), 2)
    cut = BatchOrder(100, 8, seed=5)
    cut.set_epoch(2)
    batches = iter(cut)
    for _ in range(4):
        next(batches)
    resumed = BatchOrder(100, 8, seed=5)
    resumed.load_state_dict(cut.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(epoch(resumed, 2), whole[4:], strict=True))
    assert len(epoch(resumed, 2)) == len(whole)  # only the resumed epoch is short
    assert len(epoch(resumed, 3)) == len(whole)


def test_a_state_at_the_end_of_an_epoch_leads_to_the_next_from_its_beginning() -> None:
    order = BatchOrder(100, 8, seed=5)
    epoch(order, 0)
    resumed = BatchOrder(100, 8, seed=5)
    resumed.load_state_dict(order.state_dict())
    assert len(epoch(resumed, 1)) == 13


def test_batches_that_come_at_once_are_those_that_come_one_by_one_wherever_the_epoch_goes_on() -> None:
    whole = epoch(BatchOrder(100, 8, seed=5), 2)
    order = BatchOrder(100, 8, seed=5, at_once=4)
    order.set_epoch(2)
    batches = iter(order)
    assert torch.equal(next(batches), torch.cat(whole[:4]))
    assert order.state_dict() == {"epoch": 2, "batch": 4}
    order.load_state_dict({"epoch": 2, "batch": 3})
    assert [len(part) for part in order] == [32, 32, 12]
    assert order.batch == len(order) == len(whole)


def test_a_loader_lists_the_batches_that_come_at_once() -> None:
    data = ready(batch_size=600)
    one_by_one = list(data.train_dataloader())
    data.steps_per_execution = 5
    lists = list(data.train_dataloader())
    assert [len(each) for each in lists] == [5, 2]
    assert len(data.train_dataloader()) == 7
    for ours, theirs in zip([batch for each in lists for batch in each], one_by_one, strict=True):
        assert all(torch.equal(part, other) for part, other in zip(ours, theirs, strict=True))


def test_processes_share_an_epoch_equally() -> None:
    shares = [list(BatchOrder(101, 8, seed=0, rank=rank, world=4)) for rank in range(4)]
    assert len({len(share) for share in shares}) == 1
    assert set(torch.cat([torch.cat(share) for share in shares]).tolist()) == set(range(101))


def test_processes_share_an_evaluation_without_repeating_an_image() -> None:
    shares = torch.cat([torch.cat(list(BatchOrder(101, 8, rank=rank, world=4))) for rank in range(4)])
    assert torch.equal(shares.sort().values, torch.arange(101))


def test_batches_are_bytes_with_integer_labels() -> None:
    images, labels = next(iter(ready(batch_size=32).train_dataloader()))
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (32, 1, 28, 28))
    assert (labels.dtype, tuple(labels.shape)) == (torch.int64, (32,))


def test_the_validation_split_is_stratified_fixed_and_apart(sample: datasets.Dataset) -> None:
    data, again, other = ready(val_size=500), ready(val_size=500), ready(val_size=500, seed=1)
    assert data.val.labels.bincount().tolist() == [50] * 10
    assert len(data.train.labels) == 3500
    assert torch.equal(data.val.images, again.val.images)
    assert not torch.equal(data.val.images, other.val.images)
    both = torch.cat([data.train.images, data.val.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), sample.train.images.flatten(1).unique(dim=0))


def test_without_validation_there_is_no_loader_and_all_images_train() -> None:
    data = ready()
    assert data.val_dataloader() == []
    assert len(data.train.labels) == 4000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0 .* whole number from 1 to 60000"),
        ({"val_size": 60_000}, "data.val_size=60000 .* from 0 to 59999"),
        ({"name": "minst"}, "did you mean mnist"),
        ({"fallback": "no"}, "data.fallback=no .* sample, error"),
    ],
)
def test_values_that_cannot_be_used_are_refused_before_any_data(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MNISTDataModule("/nowhere", **options)


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> None:
        raise Unreachable("no network")

    monkeypatch.setattr(datasets, "fetch", fetch)


@pytest.mark.usefixtures("unreachable")
def test_where_mnist_cannot_be_reached_the_sample_stands_in_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = MNISTDataModule(tmp_path)
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    assert data.dataset.name == "mnist-sample"
    assert data.state_dict() == {"dataset": "mnist-sample"}
    assert "TRAINING ON A SAMPLE" in caplog.text


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("options", [{"fallback": "error"}, {"name": "fashion_mnist"}])
def test_the_sample_stands_in_for_mnist_alone_and_only_if_allowed(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="no network"):
        MNISTDataModule(tmp_path, **options).prepare_data()


@pytest.mark.usefixtures("unreachable")
def test_a_validation_split_larger_than_the_sample_is_refused(tmp_path: Path) -> None:
    data = MNISTDataModule(tmp_path, val_size=5000)
    data.prepare_data()
    with pytest.raises(InputError, match="mnist-sample has 4,000 training images"):
        data.setup()


@pytest.mark.full
def test_mnist_has_its_60000_and_10000_images(mnist_dir: Path) -> None:
    data = MNISTDataModule(mnist_dir, val_size=5000, fallback="error")
    data.prepare_data()
    data.setup()
    assert data.dataset is not None
    assert data.dataset.train.labels.bincount().tolist()[:3] == [5923, 6742, 5958]  # LeCun's training set
    assert data.dataset.test.labels.bincount().tolist()[:3] == [980, 1135, 1032]
    assert data.val.labels.bincount().tolist() == [494, 562, 496, 511, 487, 452, 493, 522, 488, 495]


def test_the_order_on_another_device_is_the_same() -> None:
    assert BatchOrder(100, 8, seed=1).indices().tolist() == torch.cat(list(BatchOrder(100, 8, seed=1))).tolist()
    assert {batch.device.type for batch in BatchOrder(100, 8, seed=1, device="meta")} == {"meta"}
