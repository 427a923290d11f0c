"""Our networks are recognized in Keras models; others are refused by the first layer that differs."""

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from mnist_cnn.errors import InputError
from mnist_cnn.keras import nets
from mnist_cnn.model.nets import ConvNet, DenseNet
from mnist_cnn.model.registry import build_net
from tests.keras.models import CHANNELS, NOTEBOOK, build, describe

CONV = {"name": "conv", "padding": "valid", "pooling": "max", "channels": [*CHANNELS]}


def strided(padding: str = "valid") -> keras.Model:
    parts = [layers.Conv2D(filters, 3, 2, padding, activation="relu") for filters in CHANNELS[:2]]
    return build(*parts, layers.Conv2D(CHANNELS[2], 3, padding=padding, activation="relu"), "flatten", "dense")


MODELS: dict[str, tuple[Callable[[], keras.Model], dict[str, Any]]] = {
    "valid": (build, {}),
    "same": (lambda: build(padding="same"), {"padding": "same"}),
    "a Sequential": (lambda: build(functional=False), {}),
    "average pooling": (
        lambda: build("conv", layers.AveragePooling2D(2), "conv", layers.AveragePooling2D(2), *NOTEBOOK[4:]),
        {"pooling": "average"},
    ),
    "no pooling": (lambda: build("conv", "conv", "conv", "flatten", "dense"), {"pooling": "none"}),
    "strides": (strided, {"pooling": "stride"}),
    "strides, same": (lambda: strided("same"), {"pooling": "stride", "padding": "same"}),
    "one convolution": (lambda: build("conv", "flatten", "dense"), {"channels": [5]}),
    "logits": (lambda: build(head=None), {}),
    "softmax as a layer": (lambda: build(*NOTEBOOK, layers.Softmax(), head=None), {}),
    "Dropout": (lambda: build(*NOTEBOOK[:-1], layers.Dropout(0.5), "dense"), {}),
    "ReLU as layers": (
        lambda: build(
            *("conv", layers.ReLU(), "pool", "conv", layers.Activation("relu"), "pool", "conv", layers.ReLU()),
            *("flatten", "dense"),
            activation=None,
        ),
        {},
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_our_networks_are_recognized(kind: str) -> None:
    make, options = MODELS[kind]
    assert nets.recognize(describe(make())) == {**CONV, **options}


def test_a_dense_network_is_recognized() -> None:
    model = build("flatten", layers.Dense(20, activation="relu"), "dense")
    assert nets.recognize(describe(model)) == {"name": "dense", "hidden": 20}


@pytest.mark.parametrize("kind", ["valid", "same", "no pooling", "strides, same"])
def test_weights_alone_show_the_network_by_their_shapes(kind: str) -> None:
    make, options = MODELS[kind]
    file = describe(make())._replace(layers=None)
    recognized = nets.recognize(file)
    inputs = build_net(**recognized).get_submodule("dense").in_features
    assert recognized["channels"] == [*CHANNELS]
    assert inputs == [*file.weights.values()][-1][0].shape[0]
    if kind in ("valid", "same", "no pooling"):
        assert recognized == {**CONV, **options}


def test_weights_that_fit_no_network_are_left_to_the_check_of_shapes() -> None:
    assert nets.recognize(describe(build())._replace(layers=None, weights={})) == {"name": "dense", "hidden": 1}
    model = build("conv", layers.MaxPooling2D(5), "flatten", "dense")
    assert nets.recognize(describe(model)._replace(layers=None))["pooling"] == "max"


OTHERS: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "larger kernels": (
        lambda: build(kernel_size=5, padding="same"),
        r"layer conv2d\w* \(Conv2D\) has kernel_size=\[5, 5\], expected \[3, 3\]",
    ),
    "strides in the last convolution": (
        lambda: build(*NOTEBOOK[:4], layers.Conv2D(4, 3, 2, activation="relu"), "flatten", "dense"),
        r"layer conv2d\w* \(Conv2D\) has strides=\[2, 2\], expected \[1, 1\]",
    ),
    "mixed paddings": (
        lambda: build("conv", "pool", layers.Conv2D(4, 3, padding="same", activation="relu"), "flatten", "dense"),
        r"has padding=same, expected valid",
    ),
    "tanh": (lambda: build(activation="tanh"), r"has activation=tanh, expected relu"),
    "no ReLU": (lambda: build(activation=None), r"has activation=linear, expected relu"),
    "sigmoid at the end": (lambda: build(head="sigmoid"), r"\(Dense\) has activation=sigmoid, expected softmax"),
    "no bias": (lambda: build(use_bias=False), r"has use_bias=False, expected True"),
    "no bias at the end": (
        lambda: build(*NOTEBOOK[:-1], layers.Dense(10, use_bias=False)),
        r"\(Dense\) has use_bias=False, expected True",
    ),
    "dilation": (lambda: build(dilation_rate=2, padding="same"), r"has dilation_rate=\[2, 2\], expected \[1, 1\]"),
    "groups": (
        lambda: build("conv", "pool", layers.Conv2D(5, 3, groups=5, activation="relu"), "flatten", "dense"),
        r"has groups=5, expected 1",
    ),
    "a larger pool": (
        lambda: build("conv", layers.MaxPooling2D(3), *NOTEBOOK[2:], padding="same"),
        r"has pool_size=\[3, 3\], expected \[2, 2\]",
    ),
    "overlapping pools": (
        lambda: build("conv", layers.AveragePooling2D(2, 1), *NOTEBOOK[2:]),
        r"has strides=\[1, 1\], expected \[2, 2\]",
    ),
    "a padded pool": (
        lambda: build("conv", layers.MaxPooling2D(2, padding="same"), *NOTEBOOK[2:]),
        r"\(MaxPooling2D\) has padding=same, expected valid",
    ),
    "two kinds of pools": (
        lambda: build("conv", layers.AveragePooling2D(2), *NOTEBOOK[2:]),
        r"layer max_pooling2d\w* \(MaxPooling2D\), expected AveragePooling2D",
    ),
    "channels first": (
        lambda: build(*NOTEBOOK[:5], layers.Flatten(data_format="channels_first"), "dense"),
        r"\(Flatten\) has data_format=channels_first, expected channels_last",
    ),
    "another scale": (
        lambda: build(layers.Rescaling(1 / 127.5, offset=-1), *NOTEBOOK),
        r"layer rescaling\w* \(Rescaling\), expected Conv2D",
    ),
    "batch normalization": (
        lambda: build("conv", layers.BatchNormalization(), *NOTEBOOK[1:]),
        r"\(Conv2D\) has activation=relu, expected linear",
    ),
    "a layer too many": (
        lambda: build(*NOTEBOOK, layers.Dense(10)),
        r"\(Dense\) has activation=softmax, expected relu",
    ),
    "a layer missing": (lambda: build(*NOTEBOOK[:-1]), r"no more layers, expected Dense"),
    "ReLU6": (
        lambda: build(*NOTEBOOK[:5], layers.ReLU(max_value=6.0), *NOTEBOOK[5:], activation=None),
        r"\(Conv2D\) has activation=linear, expected relu",
    ),
    "softmax over something else": (
        lambda: build(*NOTEBOOK[:5], "dense", layers.Flatten(), head=None),
        r"\(Dense\), expected Flatten",
    ),
    "a sum": (
        lambda: (lambda x: keras.Model(x, layers.Dense(10)(layers.Flatten()(layers.Conv2D(4, 3)(x + x)))))(
            keras.Input((28, 28, 1))
        ),
        r"\(Add\), expected Conv2D",
    ),
    "Lambda": (
        lambda: build(*NOTEBOOK, layers.Lambda(lambda x: x + 1)),
        r"layer lambda\w* \(Lambda\), expected no more layers",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_network_is_refused_by_its_first_difference(kind: str) -> None:
    make, message = OTHERS[kind]
    with pytest.raises(InputError, match=f"it is a different network: .*{message}$"):
        nets.recognize(describe(make()))


def test_filters_other_than_the_weights_are_refused() -> None:
    file = describe(build())
    file.layers[1].config["filters"] = 6
    with pytest.raises(InputError, match=r"has filters=6, expected 5$"):
        nets.recognize(file)


def test_a_softmax_over_another_axis_is_refused() -> None:
    file = describe(build(*NOTEBOOK, layers.Softmax(), head=None))
    file.layers[-1].config["axis"] = 0
    with pytest.raises(InputError, match=r"\(Softmax\), expected no more layers$"):
        nets.recognize(file)


def test_the_default_layers_are_those_of_the_default_networks() -> None:
    listed = {layer.name: layer.config for layer in nets.keras_layers()}
    assert [config["filters"] for name, config in listed.items() if name.startswith("conv")] == [
        layer.out_channels for name, layer in ConvNet().named_children() if name.startswith("conv")
    ]
    assert nets.keras_layers("dense")[2].config["units"] == DenseNet().get_submodule("dense1").out_features
