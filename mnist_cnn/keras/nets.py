"""Our networks as Keras lists them, and how they are recognized in a Keras file."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import product, zip_longest
from typing import Any, Final

from torch import nn

from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.keras.files import KerasFile, Layer, kind_of
from mnist_cnn.model.registry import outline_net
from mnist_cnn.schema import PADDINGS, POOLINGS

# The settings that decide a layer's output and are the same in all our networks
_FLATTEN: Final = {"data_format": "channels_last"}
_POOL: Final = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid", **_FLATTEN}
_CONV: Final = {"kernel_size": [3, 3], "dilation_rate": [1, 1], "groups": 1, "use_bias": True, **_FLATTEN}
_NORM: Final = {"axis": -1, "epsilon": 1e-3, "center": True, "scale": True}
_POOLS: Final = {"max": "MaxPooling2D", "average": "AveragePooling2D"}
_NOISE: Final = {"Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise"}
_IDLE: Final = {"InputLayer", "ActivityRegularization", *_NOISE}  # nothing at inference
_ACTIVATIONS: Final[dict[str, dict[str, Any]]] = {
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "Softmax": {"axis": -1},
}


def keras_layers(
    name: str = "conv",
    padding: str = "valid",
    pooling: str = "max",
    channels: Sequence[int] = (32, 64, 128),
    hidden: int | None = None,
    dropout: float = 0.0,
    norm: str = "none",
    final_pooling: bool = False,
    classes: int = 10,
) -> list[Layer]:
    """List the layers of a network of ours, given its name and options, as Keras would, from the input to softmax."""
    layers = [Layer("InputLayer", "input", {"batch_shape": [None, 28, 28, 1]})]
    flatten = Layer("Flatten", "flatten", _FLATTEN)
    head = [Layer("Dense", "dense", {"units": classes, "activation": "softmax", "use_bias": True})]
    if dropout:
        head.insert(0, Layer("Dropout", "dropout", {"rate": dropout}))
    if name == "dense" or hidden is not None:
        units = 512 if hidden is None else hidden
        head.insert(0, Layer("Dense", "dense1", {"units": units, "activation": "relu", "use_bias": True}))
    for number, filters in enumerate(channels if name == "conv" else (), start=1):
        reduction = pooling if number < len(channels) or final_pooling else "none"
        strides = [2, 2] if reduction == "stride" else [1, 1]
        options = {"filters": filters, "strides": strides, "padding": padding}
        activation = "relu" if norm == "none" else "linear"
        layers.append(Layer("Conv2D", f"conv{number}", {**options, "activation": activation, **_CONV}))
        if norm == "batch":
            layers.append(Layer("BatchNormalization", f"norm{number}", _NORM))
            layers.append(Layer("Activation", f"relu{number}", {"activation": "relu"}))
        if reduction in _POOLS:
            layers.append(Layer(_POOLS[reduction], f"pool{number}", _POOL))
    return [*layers, flatten, *head]


def recognize(file: KerasFile) -> dict[str, Any]:
    """Return the name and the options of our network in a Keras file.

    From weights only: the first of max, average, stride and no pooling whose Dense layer has that many inputs.
    Raises InputError, naming the first layer that differs from the network that comes closest.
    """
    candidates = _candidates(file)
    if file.layers is None:
        return next((options for options in candidates if _fits(options, file)), candidates[0])
    layers = _without_detours(file.layers)
    compared = [
        (*_first_difference(layers, _without_detours(keras_layers(**options))), options) for options in candidates
    ]
    _, difference, options = max(compared, key=lambda each: each[0])
    if difference:
        raise InputError(f"it is a different network: {difference}")
    return options


def _candidates(file: KerasFile) -> list[dict[str, Any]]:
    """List the networks whose filters, or hidden units, are those of the file's kernels."""
    kernels = [array.shape for arrays in file.weights.values() for array in arrays if array.ndim > 1]
    channels = [shape[-1] for shape in kernels if len(shape) == 4]
    units = [shape[-1] for shape in kernels if len(shape) == 2]
    others: dict[str, Any] = {} if units[-1:] in ([], [10]) else {"classes": units[-1]}
    if not channels:
        return [{"name": "dense", "hidden": units[0] if units else 1, **others}]
    if len(units) > 1:
        others["hidden"] = units[0]
    if any(kind_of(arrays) == "batch_normalization" for arrays in file.weights.values()):
        others["norm"] = "batch"
    return [
        {"name": "conv", "padding": padding, "pooling": pooling, "channels": channels, **last, **others}
        for last in ({}, {"final_pooling": True})
        for pooling, padding in product(POOLINGS, PADDINGS)
    ]


def _fits(options: dict[str, Any], file: KerasFile) -> bool:
    """Return whether the last layer of a network has as many inputs as the file's last Dense layer."""
    with suppress(InputError):  # no pixels are left with this padding and pooling
        kernels = [array for arrays in file.weights.values() for array in arrays if array.ndim == 2]
        net = outline_net(**options)
        first = next(layer for layer in net.modules() if isinstance(layer, nn.Linear))
        return bool(kernels) and len(kernels[0]) == first.in_features
    return False


def _without_detours(layers: list[Layer]) -> list[Layer]:
    """Merge activations that are layers of their own; leave out what changes no output."""
    merged: list[Layer] = []
    for layer in layers:
        if layer.kind in _IDLE or layer.kind.startswith("Random") or _gives_our_input(layer):
            continue
        activation = _activation(layer)
        norm_before = merged and merged[-1].kind == "BatchNormalization"
        if activation and merged and merged[-1].config.get("activation", "linear" if norm_before else "") == "linear":
            before = merged.pop()
            layer = before._replace(config={**before.config, "activation": activation})
        merged.append(layer)
    return merged


def _gives_our_input(layer: Layer) -> bool:
    """Whether a layer makes 0-1 of bytes, or images of rows: what our networks are given."""
    if layer.kind == "Rescaling":
        scale, offset = layer.config.get("scale"), layer.config.get("offset", 0.0)
        return isinstance(scale, float) and abs(255 * scale - 1) < 1e-6 and offset == 0
    return layer.kind == "Reshape" and layer.config.get("target_shape") == [28, 28, 1]


def _activation(layer: Layer) -> Any:
    """Return the function of an activation layer; None for other layers, and for limits or an axis of its own."""
    if layer.kind in _ACTIVATIONS and _ACTIVATIONS[layer.kind].items() <= layer.config.items():
        return layer.kind.lower()
    return layer.config.get("activation") if layer.kind == "Activation" else None


def _first_difference(given: list[Layer], expected: list[Layer]) -> tuple[tuple[int, int], str]:
    """Return the first layer and setting that differ, as numbers to compare and as text ("" if nothing differs)."""
    for position, (theirs, ours) in enumerate(zip_longest(given, expected)):
        if theirs is None or ours is None or theirs.kind != ours.kind:
            return (position, 0), f"{theirs or 'no more layers'}, expected {ours.kind if ours else 'no more layers'}"
        for number, (key, value) in enumerate(ours.config.items(), start=1):
            found = theirs.config.get(key, value)
            if found != value and (found, value) != ("linear", "softmax"):  # logits: the weights are the same
                return (position, number), f"{theirs} has {key}={abbreviate(found)}, expected {value}"
    return (len(expected), 0), ""
