"""Other architectures and crafted configurations: refused, by the first layer that differs."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from tests.keras.models import NOTEBOOK, build, refuse, rezip


def custom(base: type) -> layers.Layer:
    return keras.saving.register_keras_serializable("mine")(type("Mine", (base,), {}))()


def branching() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    features = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, [features, layers.Dense(10)(features)])


def built(model: keras.Sequential, shape: tuple[int | None, ...]) -> keras.Sequential:
    """The same layers without an input layer, built for that shape."""
    bare = keras.Sequential([type(layer).from_config(layer.get_config()) for layer in model.layers])
    bare.build(shape)
    return bare


def skipping() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x + x)))


OTHERS: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "larger kernels": (
        lambda: build(kernel_size=5, padding="same"),
        r"conv2d\w* \(Conv2D\) has kernel_size=\[5, 5\] where \[3, 3\]",
    ),
    "tanh": (lambda: build(activation="tanh"), r"has activation=tanh where relu is needed"),
    "no bias": (lambda: build(use_bias=False), r"has use_bias=False where True"),
    "dilation": (lambda: build(dilation_rate=2, padding="same"), r"has dilation_rate=\[2, 2\] where \[1, 1\]"),
    "a larger pool": (
        lambda: build("conv", layers.MaxPooling2D(3), *NOTEBOOK[2:], padding="same"),
        r"has pool_size=\[3, 3\] where \[2, 2\]",
    ),
    "another scale": (
        lambda: build(layers.Rescaling(1 / 255), *NOTEBOOK),
        r"rescaling\w* \(Rescaling\) stands where a Conv2D is needed",
    ),
    "batch normalisation": (
        lambda: build("conv", layers.BatchNormalization(), *NOTEBOOK[1:]),
        r"\(BatchNormalization\) stands where a MaxPooling2D is needed",
    ),
    "a layer too many": (lambda: build(*NOTEBOOK, layers.Dense(10)), r"stands where the network should end"),
    "a layer missing": (lambda: build(*NOTEBOOK[:-1]), r"it ends where a Dense is needed"),
    "twelve classes": (lambda: build(*NOTEBOOK[:-1], layers.Dense(12)), r"has units=12 where 10 is needed"),
    "colour": (lambda: build(shape=(28, 28, 3)), r"its input has shape \[None, 28, 28, 3\] where \[None, 28, 28, 1\]"),
    "other sizes": (lambda: build(shape=(29, 29, 1)), r"its input has shape \[None, 29, 29, 1\]"),
    "other sizes, sequential": (lambda: build(shape=(29, 29, 1), functional=False), r"its input has shape"),
    "other sizes, no input layer": (
        lambda: built(build(functional=False), (None, 29, 29, 1)),
        r"its input has shape \[None, 29, 29, 1\]",
    ),
    "a limited ReLU": (
        lambda: build(*NOTEBOOK[:5], layers.ReLU(max_value=0.0), *NOTEBOOK[5:], activation=None),
        r"\(Conv2D\) has activation=linear where relu is needed",
    ),
    "a softmax over something else": (
        lambda: build(*NOTEBOOK, layers.Softmax(axis=0), head=None),
        r"\(Softmax\) stands where the network should end",
    ),
    "two outputs": (branching, "its output is not its last layer"),
    "a sum": (skipping, r"Add|no chain"),
    "Lambda": (lambda: build(*NOTEBOOK, layers.Lambda(lambda x: x + 1)), r"\(Lambda\) holds code, which is never run"),
    "a custom layer": (
        lambda: build(*NOTEBOOK, custom(layers.Softmax)),
        r"\(Mine\) is a custom class, whose code is never run",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_architecture_is_refused_by_its_first_difference(kind: str, tmp_path: Path) -> None:
    make, message = OTHERS[kind]
    make().save(tmp_path / "other.keras")
    refuse(tmp_path / "other.keras", message)


def test_another_architecture_is_refused_in_the_older_form_too(tmp_path: Path) -> None:
    build(activation="tanh", functional=False).save(tmp_path / "other.h5")
    refuse(tmp_path / "other.h5", "has activation=tanh where relu is needed")


def edited_config(digits: Path, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    with zipfile.ZipFile(digits) as archive:
        config = json.loads(archive.read("config.json"))
    return json.dumps(edit(config) or config).encode()


def first(config: dict[str, Any], **changes: Any) -> None:
    """Change settings of the first convolution."""
    config["config"]["layers"][1]["config"].update(changes)


def as_keras_2(config: dict[str, Any]) -> None:
    settings = config["config"]["layers"][0]["config"]
    settings["batch_input_shape"] = [*settings.pop("batch_shape")[:3], 3]


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another module's class": (
        lambda config: config["config"]["layers"][1].update(module="os"),
        "is a custom class, whose code is never run",
    ),
    "a subclassed model": (
        lambda config: config.update(module="mine", class_name="Net"),
        "the model is a custom class",
    ),
    "a custom activation": (
        lambda config: first(config, activation={"module": "builtins", "class_name": "function", "config": "system"}),
        r"has activation=\{'module': 'builtins'",
    ),
    "a list": (lambda config: [1], "is damaged, or no Keras file"),
    "no layers": (lambda config: config["config"].update(layers=[]), "its output is not its last layer"),
    "filters that are none": (
        lambda config: first(config, filters="many"),
        "has filters=many where a number from 1 to 4,096",
    ),
    "filters beyond number": (lambda config: first(config, filters=10**12), "has filters=1000000000000 where a number"),
    "a padding that is none": (lambda config: first(config, padding=["same"]), r"has padding=\['same'\] where valid"),
    "a shape that is none": (
        lambda config: config["config"]["layers"][0]["config"].update(batch_shape=7),
        "its input has shape 7",
    ),
    "a name that would act": (
        lambda config: config["config"]["layers"][1].update(class_name="\x1b[2J\u202e"),
        r"\(\\x1b\[2J\\u202e\) stands where a Conv2D is needed",
    ),
    "a name without end": (
        lambda config: config["config"]["layers"][1].update(class_name="n" * 10_000),
        r"\(n{59}…\) stands where",
    ),
    "groups": (lambda config: first(config, groups=5), r"\(Conv2D\) has groups=5 where 1 is needed"),
    "channels first": (
        lambda config: config["config"]["layers"][6]["config"].update(data_format="channels_first"),
        r"\(Flatten\) has data_format=channels_first where channels_last is needed",
    ),
    "a padded pool": (
        lambda config: config["config"]["layers"][2]["config"].update(padding="same"),
        r"\(MaxPooling2D\) has padding=same where valid is needed",
    ),
    "strides that are none": (lambda config: first(config, strides=None), r"has strides=None where \[1, 1\]"),
    "another's class of Keras's name": (
        lambda config: config["config"]["layers"][1].update(module=None, registered_name="mine>Conv2D"),
        r"\(Conv2D\) is a custom class",
    ),
    "a shape in Keras 2's words": (as_keras_2, r"its input has shape \[None, 28, 28, 3\]"),
    "other filters than the weights": (
        lambda config: first(config, filters=6),
        r"its layer conv2d has weights of shapes \[\(3, 3, 1, 5\), \(5,\)\] where \[\(3, 3, 1, 6\), \(6,\)\]",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_crafted_configuration_is_refused(kind: str, digits: Path, tmp_path: Path) -> None:
    edit, message = CONFIGS[kind]
    rezip(digits, tmp_path / "crafted.keras", config_json=edited_config(digits, edit))
    refuse(tmp_path / "crafted.keras", message)
