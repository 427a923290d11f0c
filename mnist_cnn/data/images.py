"""Images as tensors of the shape and range that networks expect."""

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from numpy.typing import ArrayLike
from torch import Tensor

from mnist_cnn.errors import InputError

SIDE = 28  # pixels


def scale(images: Shaped[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Convert integers 0-255 to floats 0-1, and False and True to 0 and 1. Floats stay as they are."""
    if images.dtype == torch.bool:
        return images.float()
    return images if images.is_floating_point() else images / 255.0


def as_batch(images: ArrayLike | Tensor) -> UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]:
    """Convert one or many images to a batch for networks.

    Accepts shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floats in 0-1.
    Raises InputError for others.
    """
    array = images if isinstance(images, Tensor) else np.array(images)
    if not isinstance(array, Tensor) and array.dtype.kind not in "biuf":
        raise InputError(f"{type(images).__name__} is not an image: give an array or a tensor, or read_picture(path)")
    batch = array if isinstance(array, Tensor) else torch.from_numpy(array)
    if batch.dtype != torch.uint8 and not batch.is_floating_point():
        raise InputError(f"images of {batch.dtype} are not supported: give uint8 (0 to 255) or floats (0 to 1)")
    if batch.is_floating_point() and batch.numel() and not (batch.min() >= 0 and batch.max() <= 1):
        raise InputError(f"float images must lie in 0 to 1, not {batch.min():g} to {batch.max():g}: divide by 255?")
    shape = tuple(batch.shape)
    if shape[1:] == (SIDE, SIDE, 1):
        raise InputError(f"images of shape {shape} have Keras's channel axis: give images[..., 0]")
    if shape[-2:] != (SIDE, SIDE) or batch.ndim > 4 or (batch.ndim == 4 and shape[1] != 1):
        raise InputError(f"images of shape {shape} are not supported: give (28, 28), (n, 28, 28) or (n, 1, 28, 28)")
    return batch.reshape(-1, 1, SIDE, SIDE)
