"""Weights in Keras's order and in torch's.

Keras keeps kernels as (height, width, inputs, outputs) and flattens height, width, channels; torch keeps (outputs,
inputs, height, width) and flattens channels, height, width.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cnn.errors import InputError, shown
from mnist_cnn.keras.files import Weights
from mnist_cnn.model.nets import layer_rows, outline_net


def to_torch(model: Mapping[str, Any], weights: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Return Keras's weights, in order of its layers, as the network's state dict.

    Raises InputError, naming the first layer whose weights are missing, too many, or of another shape.
    """
    state: dict[str, Tensor] = {}
    for ours, theirs in zip_longest(_weighted(outline_net(**model)), weights.items()):
        if theirs is None or ours is None:
            raise InputError(
                f"{ours[0]} has no weights in it" if ours else f"its layer {shown(theirs[0])} is one too many"
            )
        name, layer, side = ours
        expected = [tuple(array.shape) for array in _to_keras(layer.weight, layer.bias, side)]
        given = [array.shape for array in theirs[1]]
        if given != expected:
            shapes = f"shapes {shown(given)} where {expected} are needed"
            raise InputError(f"its layer {shown(theirs[0])} has weights of {shapes}")
        kernel, bias = (torch.from_numpy(array) for array in theirs[1])
        if kernel.ndim == 2:
            kernel = kernel.reshape(side, side, -1, len(bias))
        state[f"{name}.weight"] = kernel.permute(3, 2, 0, 1).reshape(layer.weight.shape)
        state[f"{name}.bias"] = bias
    return state


def to_keras(net: nn.Sequential) -> list[tuple[str, Weights]]:
    """Return a network's weights as Keras keeps them: for each layer that has any its class, and kernel and bias."""
    return [
        (
            "Conv2D" if isinstance(layer, nn.Conv2d) else "Dense",
            [array.detach().numpy() for array in _to_keras(layer.weight, layer.bias, side)],
        )
        for _, layer, side in _weighted(net)
    ]


def _weighted(net: nn.Sequential) -> Iterator[tuple[str, Any, int]]:
    """Yield each layer with weights, its name, and the side of the square whose flattened pixels it sees, else 1."""
    side = seen = 28
    for row in layer_rows(net):
        side = row.shape[-1] if len(row.shape) == 3 else side
        seen = side if row.layer == "Flatten" else seen
        if row.parameters:
            yield row.name, net.get_submodule(row.name), seen if row.layer == "Linear" else 1
            seen = 1


def _to_keras(weight: Tensor, bias: Tensor, side: int) -> list[Tensor]:
    if weight.ndim == 4:
        return [weight.permute(2, 3, 1, 0).contiguous(), bias]
    units = len(bias)
    return [weight.reshape(units, -1, side, side).permute(2, 3, 1, 0).reshape(-1, units), bias]
