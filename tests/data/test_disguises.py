"""A digit in any disguise becomes what its plain drawing becomes, or at least looks most like the same digit."""

from collections.abc import Callable

import pytest
import torch

from mnist_cnn.data.datasets import Dataset
from tests.data.test_pictures import distance
from tests.disguises import DISGUISES, disguise

_OTHER_STROKES = {"1 pixel in 280", "a fine pen", "a ballpoint", "very thick strokes", "outlined"}


@pytest.fixture(scope="module")
def known(sample: Dataset) -> torch.Tensor:
    return sample.train.images.flatten(1).float()


@pytest.mark.parametrize("name", DISGUISES)
def test_a_digit_is_found_in_every_disguise(
    name: str, sample: Dataset, known: torch.Tensor, read: Callable[..., torch.Tensor]
) -> None:
    number = 401
    digit = sample.test.images[number, 0].numpy()
    picture = disguise(name, digit, number)
    found = read(picture, exif=picture.getexif(), compress_level=1)
    nearest = torch.cdist(found.flatten().float()[None], known).argmin()
    assert sample.train.labels[nearest] == sample.test.labels[number]
    if name not in _OTHER_STROKES:
        assert distance(read(disguise("white paper", digit, number)), found) < 20
