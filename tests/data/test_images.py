import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mnist_cnn.data.images import as_batch, scale
from mnist_cnn.errors import InputError


def test_bytes_become_fractions_and_fractions_stay() -> None:
    images = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(scale(images), torch.from_numpy(np.arange(256, dtype=np.float32) / 255))
    assert torch.equal(scale(scale(images)), scale(images))
    assert torch.equal(images, torch.arange(256, dtype=torch.uint8))
    assert scale(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert torch.equal(scale(images.long()), scale(images))


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (3, 1, 28, 28), (0, 28, 28)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_one_or_many_images_become_a_batch(shape: tuple[int, ...], dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for given in (images, torch.from_numpy(images), images.tolist() if dtype is np.float64 and images.size else images):
        batch = as_batch(given)
        assert batch.shape == (shape[0] if len(shape) > 2 else 1, 1, 28, 28)
        assert batch.dtype == torch.from_numpy(images).dtype
        assert np.array_equal(batch.flatten(), images.flatten())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), dtype=np.int64), "int64 are not supported: give uint8"),
        (np.full((28, 28), 255.0), "not 255 to 255: divide by 255?"),
        (np.full((28, 28), -0.5), "must lie in 0 to 1, not -0.5 to -0.5"),
        (np.full((28, 28), np.nan), "must lie in 0 to 1"),
        (np.zeros((2, 28, 28, 1), dtype=np.uint8), r"give images\[\.\.\., 0\]"),
        (np.array(["a.png"]), "ndarray is not an image"),
        (np.zeros((28, 27), dtype=np.uint8), r"shape \(28, 27\)"),
        (np.zeros((27, 28), dtype=np.uint8), r"shape \(27, 28\)"),
        (np.zeros((2, 28, 28, 2), dtype=np.uint8), r"give \(28, 28\), \(n, 28, 28\)"),
        (np.zeros((2, 3, 28, 28), dtype=np.uint8), r"shape \(2, 3, 28, 28\)"),
        (np.zeros((1, 1, 1, 28, 28), dtype=np.uint8), r"shape \(1, 1, 1, 28, 28\)"),
        (np.zeros((), dtype=np.uint8), r"shape \(\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(images: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_batch(images)
