"""A digit in any disguise becomes what its plain drawing becomes."""

from collections.abc import Callable

import pytest
import torch

from mnist_cnn.data.datasets import Dataset
from tests.data.test_pictures import distance
from tests.disguises import DISGUISES, disguise

_OTHER_STROKES = {"1 pixel in 280", "a fine pen", "a ballpoint", "very thick strokes", "outlined"}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_digit_becomes_the_same_in_every_disguise(
    name: str, sample: Dataset, read: Callable[..., torch.Tensor]
) -> None:
    limit = 35 if name in _OTHER_STROKES else 20  # different digits are 20 to 80 apart
    for number in (3, 401):
        digit = sample.test.images[number, 0].numpy()
        picture = disguise(name, digit, number)
        plain = read(disguise("white paper", digit, number))
        assert distance(plain, read(picture, exif=picture.getexif(), compress_level=1)) < limit
