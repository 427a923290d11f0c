import pytest
import torch

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.distortions import distort
from mnist_cnn.data.strengths import STRENGTHS


@pytest.mark.parametrize("kind", STRENGTHS)
def test_strength_0_changes_nothing(kind: str, sample: Dataset) -> None:
    images = sample.test.images[:8]
    assert torch.equal(distort(images, kind, 0), images)


def test_images_are_shifted_right_down_left_and_up(sample: Dataset) -> None:
    images = sample.test.images[:4]
    right, down, left, up = distort(images, "shift", 3)
    assert torch.equal(right[:, :, 3:], images[0, :, :, :-3])
    assert torch.equal(down[:, 3:], images[1, :, :-3])
    assert torch.equal(left[:, :, :-3], images[2, :, :, 3:])
    assert torch.equal(up[:, :-3], images[3, :, 3:])
    assert not right[:, :, :3].any()


def test_a_half_turn_flips_both_axes_and_a_quarter_turns_alternate(sample: Dataset) -> None:
    images = sample.test.images[:2]
    assert torch.equal(distort(images, "turn", 180), images.flip(-1, -2))
    clockwise, counter = distort(images, "turn", 90)
    assert torch.equal(clockwise, images[0].rot90(-1, (-2, -1)))
    assert torch.equal(counter, images[1].rot90(1, (-2, -1)))


def test_elastic_moves_points_by_the_strength_on_the_mean(sample: Dataset) -> None:
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    ramps = torch.stack([x, y])[:, None].mul(9).to(torch.uint8)  # grey levels that tell where a pixel came from
    moved = [distort(ramps[[axis] * 50], "elastic", 2).float().div(9) - ramps[axis] / 9 for axis in (0, 1)]
    inner = torch.stack(moved)[..., 6:-6, 6:-6]  # at the edge black comes in
    assert inner.square().sum(dim=0).mean().sqrt() == pytest.approx(2, rel=0.2)


def test_two_calls_give_the_same_images(sample: Dataset) -> None:
    images = sample.test.images[:8]
    assert torch.equal(distort(images, "elastic", 3), distort(images, "elastic", 3))
    assert not torch.equal(distort(images, "elastic", 3), images)
