"""Our networks as Keras lists them, and how they are recognised in a Keras file."""

from collections.abc import Mapping
from contextlib import suppress
from itertools import product, zip_longest
from typing import Any

from torch import nn

from mnist_cnn.errors import InputError, shown
from mnist_cnn.keras.files import KerasFile, Layer, Weights
from mnist_cnn.model.nets import DEEPEST, LARGEST, PADDINGS, POOLINGS, outline_net

# What decides a layer's output, with Keras's default; None: there is none.
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
_ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "Softmax": {"axis": -1},
}
_HEADS = ("softmax", "linear")  # probabilities or logits: the weights are the same


def keras_layers(net: nn.Sequential) -> list[Layer]:
    """List a network's layers as Keras would: from the input to softmax."""
    layers = [_layer("InputLayer", "input", batch_shape=[None, 28, 28, 1])]
    padding = "valid"
    for name, layer in net.named_children():
        match layer:
            case nn.ZeroPad2d():
                padding = "same"
            case nn.Conv2d():
                options = {"filters": layer.out_channels, "kernel_size": list(layer.kernel_size)}
                padding = layer.padding if isinstance(layer.padding, str) else padding
                options |= {"strides": list(layer.stride), "padding": padding, "activation": "relu"}
                layers.append(_layer("Conv2D", name, **options))
            case nn.MaxPool2d() | nn.AvgPool2d():
                kind = "MaxPooling2D" if isinstance(layer, nn.MaxPool2d) else "AveragePooling2D"
                layers.append(_layer(kind, name, pool_size=[2, 2], strides=[2, 2]))
            case nn.Flatten():
                layers.append(_layer("Flatten", name))
            case nn.Linear():
                activation = "softmax" if name == "dense" else "relu"
                layers.append(_layer("Dense", name, units=layer.out_features, activation=activation))
    return layers


def model_of(file: KerasFile) -> dict[str, Any]:
    """Recognise one of our networks in a Keras file. Returns its name and options.

    Weights alone do not tell how was pooled: then it is the first of max, average, stride, none that fits.
    Raises InputError, naming the first layer that differs.
    """
    if file.layers is None:
        return _guess_from_shapes(file.weights)
    layers = _without_detours(file.layers)
    model = _guess_from_layers(layers)
    _check_layers(layers, keras_layers(outline_net(**model)))
    return model


def remarks(file: KerasFile) -> list[str]:
    """Say what is taken for granted of a file's network, or is not kept."""
    said = []
    if file.layers is None:
        said.append("weights alone tell their shapes: ReLU, that kind of pooling and pixels 0-1 are taken for granted")
    else:
        if any(layer.kind == "Dropout" for layer in file.layers):
            said.append("its Dropout is left out")
        if _without_detours(file.layers)[-1].config.get("activation") == "linear":
            said.append("it ends without softmax, an export ends with it")
    if file.dtypes:
        said.append(f"converted from {', '.join(sorted(file.dtypes))} to float32")
    return said


def _layer(kind: str, name: str, **config: Any) -> Layer:
    return Layer(kind, name, {**_SETTINGS[kind], **config})


def _guess_from_layers(layers: list[Layer]) -> dict[str, Any]:
    """Read a network's options off its layers; whether all of them fit is seen afterwards."""
    convolutions = [layer for layer in layers if layer.kind == "Conv2D"][:DEEPEST]
    if not convolutions:
        dense = [layer for layer in layers if layer.kind == "Dense"]
        return {"name": "dense", "hidden": _count(dense[0], "units")} if len(dense) == 2 else {"name": "conv"}
    first, kinds = convolutions[0].config, {layer.kind for layer in layers}
    strided = first.get("strides") == [2, 2]
    return {
        "name": "conv",
        "padding": padding if (padding := first.get("padding")) in PADDINGS else "valid",
        "pooling": next((name for name, kind in _POOLS.items() if kind in kinds), "stride" if strided else "none"),
        "channels": [_count(layer, "filters") for layer in convolutions],
    }


def _count(layer: Layer, key: str) -> int:
    value = layer.config.get(key)
    if type(value) is not int or not 1 <= value <= LARGEST:
        needed = f"a number from 1 to {LARGEST:,}"
        raise InputError(f"it is another network: {layer} has {key}={shown(value)} where {needed} is needed")
    return value


def _guess_from_shapes(weights: Mapping[str, Weights]) -> dict[str, Any]:
    kernels = [arrays[0].shape for arrays in weights.values()]
    channels = [shape[-1] for shape in kernels if len(shape) == 4]
    dense = [shape for shape in kernels if len(shape) == 2]
    if not dense:
        raise InputError("it is another network: it has no weights of a Dense layer")
    if not channels:
        return {"name": "dense", "hidden": dense[0][-1]}
    for pooling, padding in product(POOLINGS, PADDINGS):
        model: dict[str, Any] = {"name": "conv", "padding": padding, "pooling": pooling, "channels": channels}
        with suppress(InputError):  # no pixels are left with that padding and pooling
            if outline_net(**model).get_submodule("dense").in_features == dense[0][0]:
                return model
    return {"name": "conv", "channels": channels}


def _without_detours(layers: list[Layer]) -> list[Layer]:
    """Give activations that are layers of their own to the layer before; leave out what acts in training alone."""
    merged: list[Layer] = []
    for layer in layers:
        if layer.kind == "Dropout":
            continue
        before = merged[-1] if merged else None
        activation = _activation(layer)
        if activation is not None and before is not None and before.config.get("activation") == "linear":
            merged[-1] = before._replace(config={**before.config, "activation": activation})
        else:
            merged.append(layer)
    return merged


def _activation(layer: Layer) -> Any:
    """Return what an activation layer computes; None for another layer, or with limits or an axis of its own."""
    if layer.kind == "Activation":
        return layer.config.get("activation")
    settings = _ACTIVATIONS.get(layer.kind)
    if settings is None or any(layer.config.get(key, value) != value for key, value in settings.items()):
        return None
    return layer.kind.lower()


def _check_layers(given: list[Layer], expected: list[Layer]) -> None:
    config = given[0].config if given else {}
    shape = config.get("batch_shape", config.get("batch_input_shape", [None, 28, 28, 1]))
    if not isinstance(shape, list) or shape[1:] != [28, 28, 1]:
        raise InputError(f"it is another network: its input has shape {shown(shape)} where [None, 28, 28, 1] is needed")
    for theirs, ours in zip_longest((layer for layer in given if layer.kind != "InputLayer"), expected[1:]):
        if theirs is None:
            raise InputError(f"it is another network: it ends where a {ours.kind} is needed")
        if ours is None or theirs.kind != ours.kind:
            needed = f"a {ours.kind} is needed" if ours else "the network should end"
            raise InputError(f"it is another network: {theirs} stands where {needed}")
        for key, default in _SETTINGS[ours.kind].items():
            value, needed = theirs.config.get(key, default), ours.config[key]
            if value != needed and not (ours is expected[-1] and key == "activation" and value in _HEADS):
                raise InputError(f"it is another network: {theirs} has {key}={shown(value)} where {needed} is needed")
