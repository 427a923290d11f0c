import pytest
import torch

from mnist_cnn.data.augment import Augmenter
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.order import EpochOrder, InMemory, ResumableLoader, load_batches
from mnist_cnn.schema import Augmentation

CPU = torch.device("cpu")


def epoch(order: EpochOrder, number: int) -> list[int]:
    order.set_epoch(number)
    return list(order)


def numbered(count: int) -> Images:
    """Images whose label, and whose every pixel, is their index."""
    index = torch.arange(count)
    return Images(index.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 28, 28), index)


def loader(order: EpochOrder, batch_size: int = 8) -> ResumableLoader:
    return load_batches(InMemory(numbered(order.images), order, CPU), batch_size)


@pytest.mark.parametrize(
    ("seed", "number", "expected"),  # torch.randperm(10, generator=torch.Generator().manual_seed(seed * 2**20 + epoch))
    [
        (0, 0, [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]),
        (0, 1, [5, 6, 1, 2, 0, 8, 9, 3, 7, 4]),
        (7, 2, [7, 8, 2, 0, 1, 9, 5, 3, 6, 4]),
    ],
)
def test_the_order_is_bit_stable(seed: int, number: int, expected: list[int]) -> None:
    assert epoch(EpochOrder(10, seed), number) == expected


def test_every_image_comes_once_an_epoch() -> None:
    order = EpochOrder(1000, seed=3)
    assert sorted(order) == list(range(1000))
    assert len(order) == 1000


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    flat = {(seed, number): epoch(EpochOrder(100, seed), number) for seed in (0, 1) for number in (0, 1)}
    again = EpochOrder(100, seed=1)
    epoch(again, 0)
    assert epoch(again, 1) == flat[1, 1]
    assert len({tuple(order) for order in flat.values()}) == 4  # the second epoch of seed 0 is not the first of seed 1


def test_without_a_seed_the_order_is_that_of_the_data() -> None:
    assert epoch(EpochOrder(10), 0) == epoch(EpochOrder(10), 7) == list(range(10))


@pytest.mark.parametrize("images", [100, 101, 103])
def test_processes_share_an_epoch_equally(images: int) -> None:
    alone = epoch(EpochOrder(images, seed=0), 2)
    orders = [EpochOrder(images, 0, rank, world=4) for rank in range(4)]
    shares = [epoch(order, 2) for order in orders]
    assert [len(order) for order in orders] == [len(share) for share in shares] == [-(-images // 4)] * 4
    together = [index for turn in zip(*shares, strict=True) for index in turn]
    assert together[:images] == alone
    assert together[images:] == alone[: len(together) - images]  # the first images again


def test_processes_share_an_evaluation_without_repeats() -> None:
    orders = [EpochOrder(101, None, rank, world=4) for rank in range(4)]
    shares = [list(order) for order in orders]
    assert [len(order) for order in orders] == [len(share) for share in shares] == [26, 25, 25, 25]
    assert sorted(index for share in shares for index in share) == list(range(101))


def test_an_epoch_resumes_where_it_was_interrupted() -> None:
    whole = epoch(EpochOrder(100, seed=5), 2)
    interrupted = EpochOrder(100, seed=5)
    interrupted.set_epoch(2)
    images = iter(interrupted)
    for _ in range(40):
        next(images)
    assert interrupted.state_dict() == {"epoch": 2, "position": 40}
    resumed = EpochOrder(100, seed=5)
    resumed.load_state_dict(interrupted.state_dict())
    assert epoch(resumed, 2) == whole[40:]
    assert resumed.state_dict() == {"epoch": 2, "position": 100}
    assert epoch(resumed, 2) == whole  # only the resumed epoch starts in its middle
    assert epoch(resumed, 3) == epoch(EpochOrder(100, seed=5), 3)


def test_a_state_at_the_end_of_an_epoch_leads_to_the_whole_next_epoch() -> None:
    order = EpochOrder(100, seed=5)
    epoch(order, 0)
    resumed = EpochOrder(100, seed=5)
    resumed.load_state_dict(order.state_dict())
    assert epoch(resumed, 1) == epoch(EpochOrder(100, seed=5), 1)
    assert resumed.state_dict() == {"epoch": 1, "position": 100}


def test_images_are_sliced_by_whole_batches() -> None:
    images = InMemory(numbered(10), EpochOrder(10), CPU)
    batch, labels = images.__getitems__([7, 0, 3]).tensors
    assert labels.tolist() == batch[:, 0, 27, 27].tolist() == [7, 0, 3]
    assert (batch.shape, batch.dtype) == ((3, 1, 28, 28), torch.uint8)
    image, label = images[4]
    assert (image.shape, label.item(), image[0, 0, 0].item()) == ((1, 28, 28), 4, 4)
    assert len(images) == 10


def test_images_stay_on_their_device() -> None:
    batch, labels = InMemory(numbered(10), EpochOrder(10), torch.device("meta")).__getitems__([1, 2]).tensors
    assert batch.device.type == labels.device.type == "meta"


def test_mnist_in_batches_of_64_is_938_steps_and_the_last_has_32() -> None:
    images = Images(torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8).expand(-1, -1, 28, 28), torch.arange(60_000))
    batches = load_batches(InMemory(images, EpochOrder(60_000, seed=0), CPU), 64)
    labels = [labels for _, labels in batches]
    assert len(batches) == len(labels) == 938
    assert {len(batch) for batch in labels[:-1]} == {64}
    assert len(labels[-1]) == 32
    assert torch.cat(labels).tolist() == EpochOrder(60_000, seed=0).indices().tolist()


def test_a_loader_resumes_within_an_epoch() -> None:
    whole = [labels.tolist() for _, labels in loader(EpochOrder(100, seed=5))]
    interrupted = loader(EpochOrder(100, seed=5))
    batches = iter(interrupted)
    for _ in range(4):
        next(batches)
    assert interrupted.state_dict() == {"epoch": 0, "position": 32}
    resumed = loader(EpochOrder(100, seed=5))
    resumed.load_state_dict(interrupted.state_dict())
    assert [labels.tolist() for _, labels in resumed] == whole[4:]
    resumed.sampler.set_epoch(0)
    assert [labels.tolist() for _, labels in resumed] == whole


def test_augmented_images_do_not_depend_on_the_batch_size_or_on_an_interruption() -> None:
    def images(batch_size: int, *starts: dict[str, int]) -> torch.Tensor:
        order = EpochOrder(100, seed=5)
        augmenter = Augmenter(Augmentation(shift=2, turn=10, elastic=1), 100, seed=5)
        batches = load_batches(InMemory(numbered(100), order, CPU, augmenter), batch_size)
        for start in starts:
            batches.load_state_dict(start)
        return torch.cat([images for images, _ in batches])

    assert torch.equal(images(8), images(32))
    assert torch.equal(images(8, {"epoch": 0, "position": 40}), images(8)[40:])
    assert not torch.equal(images(8, {"epoch": 1, "position": 0})[:8], images(8)[:8])


def test_a_loader_with_lightnings_sampler_has_no_state() -> None:
    order = EpochOrder(10, seed=5)
    batches = ResumableLoader(InMemory(numbered(10), order, CPU), sampler=torch.utils.data.SequentialSampler(range(10)))
    assert batches.state_dict() == {}
    batches.load_state_dict({"epoch": 1, "position": 4})
    assert order.state_dict() == {"epoch": 0, "position": 0}


def test_iterating_does_not_advance_the_global_random_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader(EpochOrder(10, seed=5)))
    assert torch.equal(torch.get_rng_state(), before)
