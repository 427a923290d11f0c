"""The networks that a checkpoint or the configuration may name. Loading a checkpoint never imports anything."""

import os
from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import Any, Final

import torch
from torch import nn

from mnist_cnn.errors import InputError, abbreviate, one_of
from mnist_cnn.model.backend import evaluation_mode
from mnist_cnn.model.nets import CLASSES, ConvNet, DenseNet

_SHIPPED: Final[Mapping[str, type[nn.Module]]] = {"conv": ConvNet, "dense": DenseNet}
GIVEN: Final = "net"  # the name in a checkpoint of DigitClassifier(net=...), which does not know how it was built
NETS: Final[dict[str, type[nn.Module]]] = {**_SHIPPED}  # by name


def register_net(net: type[nn.Module] | str) -> None:
    """Allow checkpoints and the configuration to name your own network: a class, or its full name to import.

    It maps images (batch, 1, 28, 28), 0-1, to logits (batch, classes); where the data have
    other than ten classes, it takes their number as `classes`.
    Raises InputError if there is no such class.
    """
    given = net if isinstance(net, str) else f"{net.__module__}.{net.__qualname__}"  # a package may export it, too
    if isinstance(net, str):
        module, _, name = net.rpartition(".")
        try:
            net = getattr(import_module(module), name)
        except Exception as error:  # the module is the user's: it may raise anything
            raise InputError(f"model.name={net} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(net, type) and issubclass(net, nn.Module)):
        raise InputError(f"{net} is no class of torch.nn.Module")
    NETS[f"{net.__module__}.{net.__qualname__}"] = NETS[given] = net


def build_net(name: str = "conv", **options: Any) -> nn.Module:
    """Build a network by its name in NETS, or by a name that the environment variable MNIST_CNN_NETS lists.

    Raises InputError for an unknown name, option or value.
    """
    if name == GIVEN:
        raise InputError(
            f"the network was given as net={abbreviate(options.get('net', ''))}(...): "
            "load it with DigitClassifier.load_from_checkpoint(path, net=...)"
        )
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
        with torch.no_grad(), evaluation_mode(net):
            shape = tuple(net(torch.zeros(2, 1, 28, 28)).shape)
    except Exception as error:  # the class is the user's: it may raise anything
        raise InputError(f"the network {name} failed: {type(error).__name__}: {error}") from error
    if shape != (expected := (2, options.get("classes", CLASSES))):
        raise InputError(f"the network {name} maps two images to shape {shape}: expected {expected}")
    return net


def outline_net(name: str = "conv", **options: Any) -> nn.Module:
    """Build a network without memory for its weights: a file of a few bytes may ask for gigabytes."""
    with torch.device("meta"):
        return build_net(name, **options)
