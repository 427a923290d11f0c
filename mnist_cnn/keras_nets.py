"""Our networks as Keras lists them, and their weights in either's order.

Keras keeps kernels as (height, width, inputs, outputs) and flattens height, width, channels; torch keeps (outputs,
inputs, height, width) and flattens channels, height, width.
"""

from collections.abc import Iterator, Mapping
from itertools import product, zip_longest
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from mnist_cnn.errors import InputError
from mnist_cnn.keras_files import KerasFile, Layer, Weights
from mnist_cnn.nets import CLASSES, PADDINGS, POOLINGS, layer_rows, outline_net

# What decides a layer's output, with Keras's default; None: there is none, or that the pool size takes its place.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "InputLayer": {},
    "Conv2D": {
        "filters": None,
        "kernel_size": None,
        "strides": [1, 1],
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "use_bias": True,
    },
    "MaxPooling2D": {"pool_size": [2, 2], "strides": None, "padding": "valid", "data_format": "channels_last"},
    "AveragePooling2D": {"pool_size": [2, 2], "strides": None, "padding": "valid", "data_format": "channels_last"},
    "Flatten": {"data_format": "channels_last"},
    "Dense": {"units": None, "activation": "linear", "use_bias": True},
}
_POOLS = {"max": "MaxPooling2D", "average": "AveragePooling2D"}
_HEADS = ("softmax", "linear")  # probabilities or logits: the weights are the same


def keras_layers(
    name: str = "conv", padding: str = "valid", pooling: str = "max", channels: Any = (32, 64, 128), hidden: int = 512
) -> list[Layer]:
    """List a network of the registry, given by its options, as Keras would: from the input to softmax."""
    layers = [_layer("InputLayer", "input", batch_shape=[None, 28, 28, 1])]
    for number, filters in enumerate(channels if name == "conv" else [], start=1):
        reduced = number < len(channels)
        strides = [2, 2] if pooling == "stride" and reduced else [1, 1]
        options = {"filters": filters, "kernel_size": [3, 3], "strides": strides, "padding": padding}
        layers.append(_layer("Conv2D", f"conv{number}", **options, activation="relu"))
        if pooling in _POOLS and reduced:
            layers.append(_layer(_POOLS[pooling], f"pool{number}", pool_size=[2, 2], strides=[2, 2]))
    layers.append(_layer("Flatten", "flatten"))
    if name == "dense":
        layers.append(_layer("Dense", "dense1", units=hidden, activation="relu"))
    return [*layers, _layer("Dense", "dense", units=CLASSES, activation="softmax")]


def model_of(file: KerasFile) -> dict[str, Any]:
    """Recognise one of our networks in a Keras file. Returns its name and options.

    Weights alone do not tell how was pooled: then it is the first of max, average, stride, none that fits.
    Raises InputError, naming the first layer that differs.
    """
    model = _guess_from_layers(file.layers) if file.layers is not None else _guess_from_shapes(file.weights)
    outline_net(**model)  # its options are sound
    if file.layers is not None:
        _check_layers(_with_activations(file.layers), keras_layers(**model))
    return model


def to_torch(model: Mapping[str, Any], weights: Mapping[str, Weights]) -> dict[str, Tensor]:
    """Return Keras's weights, in order of its layers, as the network's state dict.

    Raises InputError, naming the first layer whose weights are missing, too many, or of another shape.
    """
    state: dict[str, Tensor] = {}
    for ours, theirs in zip_longest(_weighted(outline_net(**model)), weights.items()):
        if theirs is None or ours is None:
            raise InputError(f"{ours[0]} has no weights in it" if ours else f"its layer {theirs[0]} is one too many")
        name, layer, side = ours
        expected = [tuple(array.shape) for array in _to_keras(layer.weight, layer.bias, side)]
        given = [array.shape for array in theirs[1]]
        if given != expected:
            raise InputError(f"its layer {theirs[0]} has weights of shapes {given} where {expected} are needed")
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


def _layer(kind: str, name: str, **config: Any) -> Layer:
    return Layer(kind, name, {**_SETTINGS[kind], **config})


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


def _guess_from_layers(layers: list[Layer]) -> dict[str, Any]:
    """Read a network's options off its layers; whether all of them fit is seen afterwards."""
    convolutions = [layer.config for layer in layers if layer.kind == "Conv2D"]
    if not convolutions:
        units = [layer.config.get("units") for layer in layers if layer.kind == "Dense"]
        return {"name": "dense", "hidden": units[0]} if len(units) == 2 and type(units[0]) is int else {"name": "conv"}
    kinds = {layer.kind for layer in layers}
    strided = _setting("Conv2D", convolutions[0], "strides") == [2, 2]
    pooling = next((name for name, kind in _POOLS.items() if kind in kinds), "stride" if strided else "none")
    padding = convolutions[0].get("padding")
    return {
        "name": "conv",
        "padding": padding if padding in PADDINGS else "valid",
        "pooling": pooling if len(convolutions) > 1 else "max",  # no matter after the last
        "channels": [filters if type(filters := config.get("filters")) is int else 1 for config in convolutions],
    }


def _guess_from_shapes(weights: Mapping[str, Weights]) -> dict[str, Any]:
    kernels = [arrays[0].shape for arrays in weights.values() if arrays]
    channels = [shape[-1] for shape in kernels if len(shape) == 4]
    flattened = next((shape for shape in kernels if len(shape) == 2), (0, 0))
    if not channels:
        return {"name": "dense", "hidden": flattened[-1]}
    for pooling, padding in product(POOLINGS, PADDINGS):
        model: dict[str, Any] = {"name": "conv", "padding": padding, "pooling": pooling, "channels": channels}
        try:
            dense = outline_net(**model).dense
        except InputError:  # no pixels are left with that padding and pooling
            continue
        if isinstance(dense, nn.Linear) and dense.in_features == flattened[0]:
            return model
    return {"name": "conv", "channels": channels}


def _with_activations(layers: list[Layer]) -> list[Layer]:
    """Give activations that are layers of their own to the layer before."""
    merged: list[Layer] = []
    for layer in layers:
        activation = layer.config.get("activation") if layer.kind == "Activation" else layer.kind.lower()
        before = merged[-1] if merged else None
        if (
            layer.kind in ("Activation", "ReLU", "Softmax")
            and before is not None
            and before.config.get("activation") == "linear"
            and not any(layer.config.get(key) for key in ("max_value", "negative_slope", "threshold"))
            and layer.config.get("axis", -1) == -1
        ):
            merged[-1] = before._replace(config={**before.config, "activation": activation})
        else:
            merged.append(layer)
    return merged


def _check_layers(given: list[Layer], expected: list[Layer]) -> None:
    shape = given[0].config if given and given[0].kind == "InputLayer" else {}
    shape = shape.get("batch_shape", shape.get("batch_input_shape", [None, 28, 28, 1]))
    if not isinstance(shape, list) or shape[1:] != [28, 28, 1]:
        raise InputError(f"it is another network: its input has shape {shape} where [None, 28, 28, 1] is needed")
    for theirs, ours in zip_longest((layer for layer in given if layer.kind != "InputLayer"), expected[1:]):
        if theirs is None:
            raise InputError(f"it is another network: it ends where a {ours.kind} is needed")
        name = f"{theirs.name} ({theirs.kind})"
        if ours is None or theirs.kind != ours.kind:
            needed = f"a {ours.kind} is needed" if ours else "the network should end"
            raise InputError(f"it is another network: {name} stands where {needed}")
        for key in _SETTINGS[ours.kind]:
            value, needed = _setting(theirs.kind, theirs.config, key), _setting(ours.kind, ours.config, key)
            if value != needed and not (ours is expected[-1] and key == "activation" and value in _HEADS):
                raise InputError(
                    f"it is another network: {name} has {key}={shorten(str(value), 60)} where {needed} is needed"
                )


def _setting(kind: str, config: Mapping[str, Any], key: str) -> Any:
    """Return a setting in one form: Keras takes 3 for [3, 3], and no strides of a pool for its size."""
    value = config.get(key, _SETTINGS[kind][key])
    if value is None and key == "strides":
        return _setting(kind, config, "pool_size")
    if key in ("kernel_size", "strides", "dilation_rate", "pool_size") and isinstance(value, int):
        return [value, value]
    return value
