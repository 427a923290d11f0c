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
from mnist_cnn.keras.files import Weights, kind_of

_NORM = ("weight", "bias", "running_mean", "running_var")  # Keras: gamma, beta, moving_mean, moving_variance


def to_torch(net: nn.Sequential, weights: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Return Keras's weights, by layer and in the order of the layers, as a state dict for `net`.

    Only the shapes of `net` are used. Raises InputError, naming the first layer whose weights do not fit.
    """
    layers, state = list(_weighted_layers(net)), dict[str, Tensor]()
    if len(layers) != len(weights):
        raise InputError(f"it has weights of {len(weights)} layers, expected {len(layers)}")
    # a file of weights is in the order of the layers' names: convolutions are in order, but normalizations come first
    theirs = sorted(weights.items(), key=lambda each: kind_of(each[1]))
    ours = sorted(layers, key=lambda each: kind_of(_arrays(*each[1:])))
    for (name, layer, channels), (their_name, arrays) in zip(ours, theirs, strict=True):
        given, expected = ([array.shape for array in each] for each in (arrays, _arrays(layer, channels)))
        if given != expected:
            raise InputError(f"layer {their_name} has weights of shapes {abbreviate(given)}, expected {expected}")
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"layer {their_name} has weights that are NaN or infinite")
        parts = [torch.from_numpy(array) for array in arrays]
        if isinstance(layer, nn.BatchNorm2d):
            state |= {f"{name}.{key}": part for key, part in zip(_NORM, parts, strict=True)}
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
            continue
        kernel = parts[0].reshape(-1, channels, len(parts[1])).permute(2, 1, 0)
        state |= {f"{name}.weight": kernel.reshape(layer.weight.shape), f"{name}.bias": parts[1]}
    return state


def to_keras(net: nn.Sequential) -> list[Weights]:
    """Return the weights of a network as Keras stores them, of each layer that has any."""
    return [_arrays(layer, channels) for _, layer, channels in _weighted_layers(net)]


def _weighted_layers(net: nn.Sequential) -> Iterator[tuple[str, Any, int]]:
    """Yield each layer with weights, its name, and its input's channels before flattening.

    Raises InputError for a layer that Keras's networks do not have here.
    """
    channels = 1
    for name, layer in net.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            yield name, layer, channels
            channels = len(layer.weight)
        elif [*layer.parameters()]:
            raise InputError(f"layer {name} of this network cannot be written for Keras: {layer}")


def _arrays(layer: Any, channels: int) -> Weights:
    """Return the weights of a layer as Keras stores them; of a network without memory zeros of the right shape."""
    parts = [getattr(layer, key) for key in _NORM] if isinstance(layer, nn.BatchNorm2d) else [
        _kernel(layer, channels), layer.bias
    ]  # fmt: skip
    return [np.zeros(part.shape, np.float32) if part.is_meta else part.detach().numpy() for part in parts]


def _kernel(layer: Any, channels: int) -> Tensor:
    weight: Tensor = layer.weight
    outputs, _, *sides = weight.shape
    positions = weight.reshape(outputs, channels, -1)  # the 9 of a kernel, or the pixels that were flattened
    return positions.permute(2, 1, 0).reshape(*sides, -1, outputs)
