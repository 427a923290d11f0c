"""A network as Python code that needs nothing but torch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from mnist_cnn.errors import RunError


def torch_code(net: nn.Module, model: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return an expression that builds the network, with the same names of weights; `model` has its name and options.

    Only a network of one's own, `model` names its class then, needs that class.
    """
    if "." in model.get("name", ""):
        module, _, name = model["name"].rpartition(".")
        options = ", ".join(f"{key}={value!r}" for key, value in model.items() if key != "name")
        return f"{name}({options})  # from {module} import {name}"
    layers = "".join(f"    {name}={_layer_code(layer)},\n" for name, layer in net.named_children())
    return f"nn.Sequential(OrderedDict(\n{layers}))"


def _layer_code(layer: nn.Module) -> str:
    match layer:
        case nn.Conv2d():
            inputs, filters, side, stride = layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]
            return f"nn.Conv2d({inputs}, {filters}, {side}, stride={stride}, padding={layer.padding!r})"
        case nn.Linear():
            return f"nn.Linear({layer.in_features}, {layer.out_features})"
        case nn.MaxPool2d() | nn.AvgPool2d():
            return f"nn.{type(layer).__name__}({layer.kernel_size})"
        case nn.BatchNorm2d():
            return f"nn.BatchNorm2d({layer.num_features}, eps={layer.eps})"
        case nn.Dropout():
            return f"nn.Dropout({layer.p})"
        case nn.ZeroPad2d():
            return f"nn.ZeroPad2d({layer.padding})"
        case nn.ReLU() | nn.Flatten():
            return f"nn.{type(layer).__name__}()"
    raise RunError(f"a layer of type {type(layer).__name__} cannot be written as code: add it to _layer_code")
