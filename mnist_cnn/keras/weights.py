"""Weights in Keras's order and in torch's.

Keras stores kernels as (height, width, inputs, outputs) and flattens images as height, width, channels;
torch stores (outputs, inputs, height, width) and flattens channels, height, width.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.keras.files import Weights


def to_torch(net: nn.Sequential, weights: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Return Keras's weights, by layer and in the order of the layers, as a state dict for `net`.

    Only the shapes of `net` are used. Raises InputError, naming the first layer whose weights do not fit.
    """
    layers, state = list(_weighted_layers(net)), dict[str, Tensor]()
    if len(layers) != len(weights):
        raise InputError(f"it has weights of {len(weights)} layers, expected {len(layers)}")
    for (name, layer, channels), (their_name, arrays) in zip(layers, weights.items(), strict=True):
        given = [array.shape for array in arrays]
        expected = [tuple(_kernel(layer, channels).shape), (len(layer.bias),)]
        if given != expected:
            raise InputError(f"layer {their_name} has weights of shapes {abbreviate(given)}, expected {expected}")
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"layer {their_name} has weights that are NaN or infinite")
        kernel, bias = map(torch.from_numpy, arrays)
        kernel = kernel.reshape(-1, channels, len(bias)).permute(2, 1, 0)
        state |= {f"{name}.weight": kernel.reshape(layer.weight.shape), f"{name}.bias": bias}
    return state


def to_keras(net: nn.Sequential) -> list[Weights]:
    """Return the weights of a network as Keras stores them: kernel and bias of each layer that has any."""
    return [
        [_kernel(layer, channels).detach().numpy(), layer.bias.detach().numpy()]
        for _, layer, channels in _weighted_layers(net)
    ]


def _weighted_layers(net: nn.Sequential) -> Iterator[tuple[str, Any, int]]:
    """Yield each layer with weights, its name, and its input's channels before flattening."""
    channels = 1
    for name, layer in net.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield name, layer, channels
            channels = len(layer.weight)


def _kernel(layer: Any, channels: int) -> Tensor:
    weight: Tensor = layer.weight
    outputs, _, *sides = weight.shape
    positions = weight.reshape(outputs, channels, -1)  # the 9 of a kernel, or the pixels that were flattened
    return positions.permute(2, 1, 0).reshape(*sides, -1, outputs)
