"""A network as the page to draw on computes it: layers as JSON, weights as base64."""

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

_POOLINGS = {nn.MaxPool2d: "max", nn.AvgPool2d: "average"}


class PackedNet(NamedTuple):
    """The layers in the order in which they are computed; the weights layer after layer, kernels before biases."""

    layers: list[dict[str, Any]]
    weights: str
    dtype: str


@torch.no_grad()
def round_to_float16(net: nn.Module) -> bool:
    """Round the weights to what float16 can hold; return False, and change nothing, if one is too large for it."""
    halves = {name: weights.half() for name, weights in net.state_dict().items()}
    if not all(weights.isfinite().all() for weights in halves.values()):
        return False
    net.load_state_dict(halves)
    return True


def pack_net(net: nn.Sequential, dtype: str) -> PackedNet:
    """Describe a network, its weights as float16 or float32, in little-endian order."""
    numbers = torch.cat([weights.flatten() for weights in net.state_dict().values()]).cpu().numpy()
    code = {"float16": "<f2", "float32": "<f4"}[dtype]
    return PackedNet([*_layers(net)], base64.b64encode(numbers.astype(code).tobytes()).decode(), dtype)


def _layers(net: nn.Sequential) -> Iterator[dict[str, Any]]:
    """Yield the layers that have weights or pool. ReLU and padding belong to one of these."""
    none = [0, 0, 0, 0]  # left, right, top, bottom
    padding = none
    for name, layer in net.named_children():
        if isinstance(layer, nn.ZeroPad2d):
            padding = [*layer.padding]
        elif isinstance(layer, nn.Conv2d):
            sides = [1, 1, 1, 1] if layer.padding == "same" else padding
            shape = {
                "inputs": layer.in_channels,
                "outputs": layer.out_channels,
                "stride": layer.stride[0],
                "pad": sides,
            }
            yield {"name": name, "kind": "conv", "relu": True, **shape, "stride": layer.stride[0], "pad": sides}
            padding = none
        elif isinstance(layer, nn.Linear):
            shape = {"inputs": layer.in_features, "outputs": layer.out_features}
            yield {"name": name, "kind": "dense", "relu": layer is not net[-1], **shape}
        elif type(layer) in _POOLINGS:
            yield {"name": name, "kind": _POOLINGS[type(layer)]}
