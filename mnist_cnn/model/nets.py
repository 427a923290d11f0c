"""The networks: images (batch, 1, 28, 28), values 0-1, to logits (batch, 10)."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Final

import torch
from torch import nn

from mnist_cnn.errors import InputError, one_of
from mnist_cnn.schema import MOST_LAYERS, PADDINGS, POOLINGS

CLASSES: Final = 10


class ConvNet(nn.Sequential):
    """3x3 convolutions with ReLU, pooling between them, and a linear head.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, 10). `padding` is "valid" (each convolution
    takes 2 off height and width) or "same" (zeros keep them). `pooling`, by 2 after every convolution but the last,
    is "max", "average", "stride" (the convolution itself takes every second position), or "none".
    Raises InputError for other values, and where pooling leaves a convolution no pixels.
    """

    def __init__(self, padding: str = "valid", pooling: str = "max", channels: Sequence[int] = (32, 64, 128)) -> None:
        one_of("padding", padding, PADDINGS)
        one_of("pooling", pooling, POOLINGS)
        if not 1 <= len(channels) <= MOST_LAYERS:
            raise InputError(f"channels={channels} cannot be used: give a list of 1 to {MOST_LAYERS} filter counts")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, previous = 28, 1
        for number, filters in enumerate(channels, start=1):
            reduction = pooling if number < len(channels) else "none"
            for name, layer in _block(side, previous, filters, padding, reduction).items():
                layers[f"{name}{number}"] = layer
            side, previous = _side_after(side, padding, reduction), filters
            if side < 1:
                would_fit = _last_side("same", pooling, len(channels)) >= 1  # already tried, if padding is "same"
                hint = "; model.padding=same keeps enough" if would_fit else ""
                raise InputError(f"channels={list(channels)} is too deep: layer {number} has no pixels left{hint}")
        layers["flatten"] = nn.Flatten()
        layers["dense"] = nn.Linear(previous * side**2, CLASSES)
        super().__init__(layers)
        initialise_like_keras(self)


class DenseNet(nn.Sequential):
    """One hidden layer with ReLU. It knows nothing of which pixels are neighbours: convolution is compared with it.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, 10).
    """

    def __init__(self, hidden: int = 512) -> None:
        layers = OrderedDict[str, nn.Module]()
        layers["flatten"] = nn.Flatten()
        layers["dense1"] = nn.Linear(28 * 28, hidden)
        layers["relu1"] = nn.ReLU()
        layers["dense"] = nn.Linear(hidden, CLASSES)
        super().__init__(layers)
        initialise_like_keras(self)


NETS: Final[Mapping[str, type[nn.Sequential]]] = {"conv": ConvNet, "dense": DenseNet}


def build_net(name: str = "conv", **options: Any) -> nn.Sequential:
    """Build a network by its name in NETS.

    Raises InputError for an unknown name, option or value.
    """
    known = signature(NETS[one_of("model", name, NETS)]).parameters
    if unknown := options.keys() - known:
        raise InputError(f"model {name} has no option {min(unknown)}: it has {', '.join(known)}")
    return NETS[name](**options)


def outline_net(name: str = "conv", **options: Any) -> nn.Sequential:
    """Build a network that takes no memory for its weights: a file of a few bytes may ask for gigabytes."""
    with torch.device("meta"):
        return build_net(name, **options)


def initialise_like_keras(net: nn.Module) -> None:
    """Draw kernels from Glorot's uniform distribution (Glorot and Bengio 2010) and set biases to zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every layer here has one


def _block(side: int, inputs: int, filters: int, padding: str, pooling: str) -> dict[str, nn.Module]:
    """Return a convolution with its pooling and its ReLU, in the order in which they are computed."""
    if pooling == "stride":
        block: dict[str, nn.Module] = {}
        if padding == "same":  # as Keras pads for stride 2: an even side below and to the right only
            before = side % 2
            block["pad"] = nn.ZeroPad2d((before, 1, before, 1))
        return block | {"conv": nn.Conv2d(inputs, filters, 3, stride=2), "relu": nn.ReLU()}
    convolution = nn.Conv2d(inputs, filters, 3, padding=padding)
    if pooling == "max":  # pooling first: the maximum commutes with ReLU exactly, on a quarter of the values
        return {"conv": convolution, "pool": nn.MaxPool2d(2), "relu": nn.ReLU()}
    if pooling == "average":  # the average does not
        return {"conv": convolution, "relu": nn.ReLU(), "pool": nn.AvgPool2d(2)}
    return {"conv": convolution, "relu": nn.ReLU()}


def _last_side(padding: str, pooling: str, layers: int) -> int:
    side = 28
    for number in range(1, layers + 1):
        side = _side_after(side, padding, pooling if number < layers else "none")
    return side


def _side_after(side: int, padding: str, pooling: str) -> int:
    if pooling == "stride":
        return (side + 1) // 2 if padding == "same" else (side - 3) // 2 + 1
    kept = side if padding == "same" else side - 2
    return kept if pooling == "none" else kept // 2
