"""The networks: images (batch, 1, 28, 28), values 0-1, to logits (batch, 10)."""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mnist_cnn.errors import InputError, abbreviate, one_of
from mnist_cnn.schema import MOST_LAYERS, NORMS, PADDINGS, POOLINGS

if TYPE_CHECKING:
    from mnist_cnn.schema import Norm, Padding, Pooling
else:
    Norm = Padding = Pooling = str  # checked by the constructor, whose message tells what to give

CLASSES: Final = 10


class _Net(nn.Sequential):
    """A sequence of named layers."""

    def __getitem__(self, index: slice | int) -> Any:
        """Return a layer; for a slice a sequence of layers, which is no network of this class."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict([*self.named_children()][index]))
        return super().__getitem__(index)


class ConvNet(_Net):
    """3x3 convolutions with ReLU, pooling between them, and a linear head.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, 10).

    - `padding`: "valid" (each convolution trims 2 pixels off height and width) or "same" (zeros keep them).
    - `pooling`, by 2 after every convolution but the last: "max", "average", "stride" (the convolution itself takes
      every second position), or "none".
    - `final_pooling`: pool after the last convolution, too.
    - `channels`: the number of filters of each convolution.
    - `hidden`: the units of a dense layer with ReLU before the last one; none if None.
    - `dropout`: the share of the dense layer's inputs that are set to zero in training, in [0, 1).
    - `norm`: "none", or "batch": batch normalization after each convolution, with Keras's epsilon and momentum.

    Raises InputError for other values, and where pooling leaves a convolution no pixels.
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
    ) -> None:
        one_of("padding", padding, PADDINGS)
        one_of("pooling", pooling, POOLINGS)
        one_of("norm", norm, NORMS)
        if not 0 <= dropout < 1:
            raise InputError(f"dropout={dropout} cannot be used: give 0 or more, but less than 1")
        if not 1 <= len(channels) <= MOST_LAYERS:
            raise InputError(f"channels={channels} cannot be used: give a list of 1 to {MOST_LAYERS} filter counts")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, previous = 28, 1
        for number, filters in enumerate(channels, start=1):
            reduction = pooling if number < len(channels) or final_pooling else "none"
            for name, layer in _block(side, previous, filters, padding, reduction, norm).items():
                layers[f"{name}{number}"] = layer
            side, previous = _side_after(side, padding, reduction), filters
            if side < 1:
                would_fit = _last_side("same", pooling, len(channels)) >= 1  # already tried, if padding is "same"
                hint = "; model.padding=same keeps enough" if would_fit else ""
                raise InputError(f"channels={list(channels)} is too deep: layer {number} has no pixels left{hint}")
        layers["flatten"] = nn.Flatten()
        inputs = previous * side**2
        if hidden is not None:
            layers["dense1"], layers["relu"] = nn.Linear(inputs, hidden), nn.ReLU()
            inputs = hidden
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        layers["dense"] = nn.Linear(inputs, CLASSES)
        super().__init__(layers)
        initialise_like_keras(self)


class DenseNet(_Net):
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


_SHIPPED: Final[Mapping[str, type[nn.Module]]] = {"conv": ConvNet, "dense": DenseNet}
NETS: Final[dict[str, type[nn.Module]]] = {**_SHIPPED}  # by the name that a checkpoint may give


def register_net(net: type[nn.Module] | str) -> None:
    """Let checkpoints and the configuration name a network of your own: a class, or its full name to import.

    It maps images (batch, 1, 28, 28), 0-1, to logits (batch, 10). A checkpoint alone never causes an import.
    Raises InputError if there is no such class.
    """
    if isinstance(net, str):
        module, _, name = net.rpartition(".")
        try:
            net = getattr(import_module(module), name)
        except Exception as error:  # the module is the user's: it may raise anything
            raise InputError(f"model.name={net} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(net, type) and issubclass(net, nn.Module)):
        raise InputError(f"{net} is no class of torch.nn.Module")
    NETS[f"{net.__module__}.{net.__qualname__}"] = net


def build_net(name: str = "conv", **options: Any) -> nn.Module:
    """Build a network by its name in NETS, or one that the environment variable MNIST_CNN_NETS lists.

    Raises InputError for an unknown name, option or value.
    """
    if name not in NETS and name in os.environ.get("MNIST_CNN_NETS", "").split(","):
        register_net(name)
    if name not in NETS and "." in str(name):
        raise InputError(
            f"the network {abbreviate(name)} is not imported because a file names it: "
            f"call mnist_cnn.register_net first, or set MNIST_CNN_NETS={abbreviate(name)}"
        )
    known = signature(NETS[one_of("model", name, NETS)]).parameters
    takes_any = any(each.kind is Parameter.VAR_KEYWORD for each in known.values())
    if not takes_any and (unknown := options.keys() - known):
        raise InputError(f"model {name} has no option {min(unknown)}: it has {', '.join(known) or 'none'}")
    return NETS[name](**options) if name in _SHIPPED else _build_own(name, options)


def _build_own(name: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        net = NETS[name](**options)
        in_training = net.training
        with torch.no_grad():
            shape = tuple(net.eval()(torch.zeros(2, 1, 28, 28)).shape)
        net.train(in_training)
    except Exception as error:  # the class is the user's: it may raise anything
        raise InputError(f"the network {name} cannot be used: {type(error).__name__}: {error}") from error
    if shape != (2, CLASSES):
        raise InputError(f"the network {name} maps two images to shape {shape}: expected {(2, CLASSES)}")
    return net


def layers_of(net: nn.Module) -> nn.Sequential:
    """Return a network whose layers follow one another.

    Raises InputError for any other: what looks into the layers cannot be done.
    """
    if isinstance(net, nn.Sequential):
        return net
    raise InputError(f"the network {type(net).__name__} cannot be used here: it is no torch.nn.Sequential")


def outline_net(name: str = "conv", **options: Any) -> nn.Module:
    """Build a network that takes no memory for its weights: a file of a few bytes may ask for gigabytes."""
    with torch.device("meta"):
        return build_net(name, **options)


def initialise_like_keras(net: nn.Module) -> None:
    """Draw kernels from Glorot's uniform distribution (Glorot and Bengio 2010) and set biases to zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every layer here has one


def fold(net: nn.Sequential) -> nn.Sequential:
    """Return a network that computes the same at inference without batch normalization and dropout.

    A normalization that follows a convolution is multiplied into its kernels (torch.nn.utils.fusion).
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
        before = side % 2  # as Keras pads for stride 2: an even side below and to the right only
        block["pad"] = nn.ZeroPad2d((before, 1, before, 1))
    if pooling == "stride":
        block["conv"] = nn.Conv2d(inputs, filters, 3, stride=2)
    else:
        block["conv"] = nn.Conv2d(inputs, filters, 3, padding=padding)
    if norm == "batch":
        block["norm"] = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)
    if pooling == "max":  # pooling first: the maximum commutes with ReLU exactly, on a quarter of the values
        return block | {"pool": nn.MaxPool2d(2), "relu": nn.ReLU()}
    if pooling == "average":  # the average does not
        return block | {"relu": nn.ReLU(), "pool": nn.AvgPool2d(2)}
    return block | {"relu": nn.ReLU()}


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
