"""A network as the page to draw on computes it: layers as JSON, weights as base64."""

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnist_cnn.errors import InputError

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
    """Describe a network, its weights as float16 or float32."""
    numbers = torch.cat([weights.flatten() for weights in net.state_dict().values()])
    return PackedNet([*_layers(net)], encode(numbers, dtype), dtype)


def encode(numbers: Tensor, dtype: str) -> str:
    """Write numbers as base64 of float16 or float32, in little-endian order."""
    code = {"float16": "<f2", "float32": "<f4"}[dtype]
    return base64.b64encode(numbers.cpu().numpy().astype(code).tobytes()).decode()


def _layers(net: nn.Sequential) -> Iterator[dict[str, Any]]:
    """Yield the layers that have weights or pool. ReLU and padding belong to one of these.

    Raises InputError for a layer that the page cannot compute.
    """
    padding = [0, 0, 0, 0]  # left, right, top, bottom
    layers = [*net.named_children(), ("", nn.Identity()), ("", nn.Identity())]
    activations = set[str]()
    for (name, layer), *following in zip(layers, layers[1:], layers[2:], strict=False):
        after = following[1] if isinstance(following[0][1], nn.MaxPool2d) else following[0]  # it commutes with ReLU
        relu = isinstance(after[1], nn.ReLU)
        if isinstance(layer, nn.ZeroPad2d):
            padding = [*layer.padding]
        elif isinstance(layer, nn.Conv2d) and _is_known(layer):
            sides = [1, 1, 1, 1] if layer.padding in ("same", (1, 1)) else padding
            shape = {"inputs": layer.in_channels, "outputs": layer.out_channels}
            yield {"name": name, "kind": "conv", "relu": relu, **shape, "stride": layer.stride[0], "pad": sides}
            activations |= {after[0]}
            padding = [0, 0, 0, 0]
        elif isinstance(layer, nn.Linear) and layer.bias is not None:
            yield {
                "name": name, "kind": "dense", "relu": relu, "inputs": layer.in_features, "outputs": layer.out_features
            }  # fmt: skip
            activations |= {after[0]}
        elif type(layer) in _POOLINGS and repr(layer) == repr(type(layer)(2)):
            yield {"name": name, "kind": _POOLINGS[type(layer)]}
        elif not (isinstance(layer, nn.Flatten) or (isinstance(layer, nn.ReLU) and name in activations)):
            raise InputError(f"the page cannot compute layer {name} of this network: {layer}")


def _is_known(layer: nn.Conv2d) -> bool:
    """Whether a convolution is as our networks have it: 3x3, with a bias, and zeros around it or none."""
    plain = layer.kernel_size == (3, 3) and layer.dilation == (1, 1) and layer.groups == 1 and layer.bias is not None
    paddings = ["valid", (0, 0)] + (["same", (1, 1)] if layer.stride == (1, 1) else [])
    return plain and layer.padding_mode == "zeros" and layer.padding in paddings
