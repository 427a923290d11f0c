"""The networks: images (batch, 1, 28, 28), values 0-1, to logits (batch, classes)."""

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mnist_cnn.errors import InputError, one_of
from mnist_cnn.schema import MOST_LAYERS, NORMS, PADDINGS, POOLINGS

if TYPE_CHECKING:
    from mnist_cnn.schema import Norm, Padding, Pooling
else:
    Norm = Padding = Pooling = str  # the constructor checks them, with a better message than a type checker's

CLASSES: Final = 10
_SIDE = 28


class Layers(nn.Sequential):
    """A sequence of named layers."""

    def __getitem__(self, index: slice | int) -> Any:
        """Return a layer, or for a slice an nn.Sequential of layers."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict([*self.named_children()][index]))
        return super().__getitem__(index)


class ConvNet(Layers):
    """3x3 convolutions with ReLU, pooling between them, and a linear head.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, classes).

    - `padding`: "valid" (each convolution trims 2 pixels off height and width) or "same" (zeros keep them).
    - `pooling`: how height and width are halved after every convolution but the last: "max", "average", "stride" (the
      convolution itself has stride 2), or "none".
    - `channels`: the number of filters of each convolution.
    - `dropout`: the share of the last layer's inputs that are set to zero in training, in [0, 1).
    - `norm`: "none", or "batch": batch normalization after each convolution, with Keras's epsilon and momentum.
    - `hidden`: the units of a dense layer with ReLU before the last layer; None: no such layer.
    - `final_pooling`: also pool after the last convolution.
    - `classes`: the number of logits.

    Raises InputError for other values, and if pooling leaves a convolution no pixels.
    """

    def __init__(
        self,
        padding: Padding = "valid",
        pooling: Pooling = "max",
        channels: Sequence[int] = (32, 64, 128),
        dropout: float = 0.0,
        norm: Norm = "none",
        hidden: int | None = None,
        final_pooling: bool = False,
        classes: int = CLASSES,
    ) -> None:
        one_of("padding", padding, PADDINGS)
        one_of("pooling", pooling, POOLINGS)
        one_of("norm", norm, NORMS)
        if hidden is not None and hidden < 1:
            raise InputError(f"hidden={hidden} is out of range: give 1 or more units, or None")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout={dropout} is out of range: give 0 or more, but less than 1")
        if not 1 <= len(channels) <= MOST_LAYERS:
            raise InputError(f"channels={channels} has a wrong length: give a list of 1 to {MOST_LAYERS} filter counts")
        reductions = [pooling] * (len(channels) - 1) + [pooling if final_pooling else "none"]
        sides = _sides(padding, reductions)
        if sides[-1] < 1:
            number = next(number for number, side in enumerate(sides) if side < 1)
            hint = "; model.padding=same keeps enough" if _sides("same", reductions)[-1] >= 1 else ""
            raise InputError(f"channels={list(channels)} is too deep: layer {number} has no pixels left{hint}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, filters) in enumerate(zip([1, *channels], channels, strict=False), start=1):
            block = _block(sides[number - 1], inputs, filters, padding, reductions[number - 1], norm)
            layers.update((f"{name}{number}", layer) for name, layer in block.items())
        layers["flatten"] = nn.Flatten()
        features = channels[-1] * sides[-1] ** 2
        if hidden is not None:
            layers["dense1"], layers["relu"] = nn.Linear(features, hidden), nn.ReLU()
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        layers["dense"] = nn.Linear(features if hidden is None else hidden, classes)
        super().__init__(layers)
        initialise_like_keras(self)


class DenseNet(Layers):
    """One hidden layer with ReLU, as a comparison: it does not know which pixels are neighbours.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, classes). `hidden` is the number of its units.
    """

    def __init__(self, hidden: int = 512, classes: int = CLASSES) -> None:
        layers = OrderedDict[str, nn.Module]()
        layers["flatten"] = nn.Flatten()
        layers["dense1"] = nn.Linear(_SIDE**2, hidden)
        layers["relu1"] = nn.ReLU()
        layers["dense"] = nn.Linear(hidden, classes)
        super().__init__(layers)
        initialise_like_keras(self)


def initialise_like_keras(net: nn.Module) -> None:
    """Draw kernels from Glorot's uniform distribution (Glorot and Bengio 2010) and set biases to zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every layer here has one


def layers_of(net: nn.Module) -> nn.Sequential:
    """Return the network as the nn.Sequential that it is. Raises InputError for other networks."""
    if isinstance(net, nn.Sequential):
        return net
    raise InputError(f"the network {type(net).__name__} is not supported here: it is no torch.nn.Sequential")


def fold(net: nn.Sequential) -> nn.Sequential:
    """Return a network without batch normalization and dropout that computes the same at inference.

    A normalization after a convolution is multiplied into its kernels (torch.nn.utils.fusion).
    """
    layers = OrderedDict[str, nn.Module]()
    for name, layer in deepcopy(net).eval().named_children():
        last = next(reversed(layers), "")
        if isinstance(layer, nn.BatchNorm2d) and isinstance(layers.get(last), nn.Conv2d):
            layers[last] = fuse_conv_bn_eval(layers[last], layer)  # type: ignore[type-var]
        elif not isinstance(layer, nn.Dropout):
            layers[name] = layer
    return nn.Sequential(layers)


def _block(side: int, inputs: int, filters: int, padding: str, pooling: str, norm: str) -> dict[str, nn.Module]:
    """Return a convolution with its normalization, pooling and ReLU, in the order in which they are computed."""
    block: dict[str, nn.Module] = {}
    if pooling == "stride" and padding == "same":
        before = side % 2  # like Keras with stride 2: an even side is padded only below and to the right
        block["pad"] = nn.ZeroPad2d((before, 1, before, 1))
    if pooling == "stride":
        block["conv"] = nn.Conv2d(inputs, filters, 3, stride=2)
    else:
        block["conv"] = nn.Conv2d(inputs, filters, 3, padding=padding)
    if norm == "batch":
        block["norm"] = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)
    if pooling == "max":  # before ReLU: the result is the same, for a quarter of the values
        return block | {"pool": nn.MaxPool2d(2), "relu": nn.ReLU()}
    if pooling == "average":  # after ReLU: the average does not commute with it
        return block | {"relu": nn.ReLU(), "pool": nn.AvgPool2d(2)}
    return block | {"relu": nn.ReLU()}


def _sides(padding: str, reductions: Sequence[str]) -> list[int]:
    """Return the image's height and width before each convolution, and after the last."""
    sides = [_SIDE]
    for pooling in reductions:
        side = sides[-1]
        if pooling == "stride":
            sides.append((side + 1) // 2 if padding == "same" else (side - 3) // 2 + 1)
        else:
            kept = side if padding == "same" else side - 2
            sides.append(kept if pooling == "none" else kept // 2)
    return sides
