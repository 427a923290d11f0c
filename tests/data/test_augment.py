import math

import pytest
import torch
from torch import Tensor

from mnist_cnn.data.augment import Augmenter
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.schema import Augmentation

ALL = Augmentation(shift=2, turn=10, scale=0.1, shear=0.1, elastic=1, stroke=1)
MOST = 500  # images that measure a distribution


def augment(images: Tensor, augmentation: Augmentation, seed: int = 0, epoch: int = 0) -> Tensor:
    return Augmenter(augmentation, len(images), seed)(images, torch.arange(len(images)), epoch)


def sources(augmentation: Augmentation) -> Tensor:
    """Return where each pixel of 500 augmented pictures came from: x and y, to 1/9 pixel."""
    y, x = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    return torch.cat([augment((9 * ramp).byte().expand(MOST, 1, 28, 28), augmentation) for ramp in (x, y)], 1) * 255 / 9


def test_strengths_of_0_change_nothing(sample: Dataset) -> None:
    images = sample.train.images[:8]
    assert torch.allclose(augment(images, Augmentation()), images / 255, atol=1e-5)
    assert not Augmentation()


def test_images_are_a_function_of_seed_epoch_and_place(sample: Dataset) -> None:
    images = sample.train.images[:8]
    first = augment(images, ALL)
    assert torch.equal(first, augment(images, ALL))
    assert not torch.equal(first, augment(images, ALL, epoch=1))
    assert not torch.equal(first, augment(images, ALL, seed=1))
    again = Augmenter(ALL, 8, seed=0)
    again(images, torch.arange(8), 1)
    assert torch.equal(again(images[[6, 2]], torch.tensor([6, 2]), 0), first[[6, 2]])


def test_augmented_images_lie_in_0_to_1(sample: Dataset) -> None:
    augmented = augment(sample.train.images[:MOST], ALL)
    assert augmented.min() >= 0
    assert augmented.max() <= 1


@pytest.mark.parametrize("axis", [0, 1])
def test_shifts_are_uniform_to_both_sides(axis: int) -> None:
    moved = sources(Augmentation(shift=3))[:, axis, 14, 14] - 14
    assert moved.min() == pytest.approx(-3, abs=0.2)
    assert moved.max() == pytest.approx(3, abs=0.2)
    assert moved.std() == pytest.approx(3 / math.sqrt(3), rel=0.1)


def test_turns_keep_lengths_and_reach_the_angle() -> None:
    x, y = sources(Augmentation(turn=20)).unbind(dim=1)
    across, down = x[:, 14, 20] - x[:, 14, 8], y[:, 14, 20] - y[:, 14, 8]  # 12 pixels apart in the result
    assert torch.hypot(across, down).sub(12).abs().max() < 0.3
    angles = torch.rad2deg(torch.atan2(down, across))
    assert angles.abs().max() == pytest.approx(20, abs=1)
    assert angles.mean() == pytest.approx(0, abs=2)


def test_each_axis_is_scaled_by_itself() -> None:
    x, y = sources(Augmentation(scale=0.25)).unbind(dim=1)
    wide, high = 12 / (x[:, 14, 20] - x[:, 14, 8]), 12 / (y[:, 20, 14] - y[:, 8, 14])
    for lengths in (wide, high):
        assert lengths.min() == pytest.approx(0.75, abs=0.02)
        assert lengths.max() == pytest.approx(1.25, abs=0.02)
    assert torch.corrcoef(torch.stack([wide, high]))[0, 1].abs() < 0.2


def test_shear_moves_rows_along_themselves() -> None:
    x, y = sources(Augmentation(shear=0.25)).unbind(dim=1)
    assert (y[:, 8, 14] - 8).abs().max() < 0.2
    assert (x[:, 8, 14] - x[:, 20, 14]).abs().max() == pytest.approx(12 * 0.25, abs=0.3)


def test_elastic_moves_points_by_its_strength() -> None:
    own = torch.stack(torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="xy"))
    moved = (sources(Augmentation(elastic=1.5)) - own)[..., 7:-7, 7:-7]  # at the edge black comes in
    assert moved.square().sum(dim=1).mean().sqrt() == pytest.approx(1.5, rel=0.1)
    steps = moved.diff(dim=-1).square().sum(dim=1).mean().sqrt()
    assert steps < 0.5  # smooth: neighbours move alike


def test_strokes_get_thinner_and_thicker_where_they_are_grey() -> None:
    bands = torch.tensor([0, 51, 255, 255], dtype=torch.uint8).repeat_interleave(7)  # black, 0.2, and white
    augmented = augment(bands.expand(MOST, 1, 28, 28), Augmentation(stroke=2))
    assert augmented[..., 3].abs().max() < 1e-5
    assert augmented[..., 17:25].sub(1).abs().max() < 1e-3
    exponents = (augmented[:, 0, 14, 10].log() / math.log(0.2)).log2()
    assert exponents.min() == pytest.approx(-2, abs=0.1)
    assert exponents.max() == pytest.approx(2, abs=0.1)
    assert exponents.std() == pytest.approx(2 / math.sqrt(3), rel=0.1)
