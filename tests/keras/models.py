"""Keras models like the notebook's and unlike it, built in Keras, and their files with parts replaced."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import torch
from keras import layers

from mnist_cnn.keras import reader
from mnist_cnn.keras.files import KerasFile, Layer

NOTEBOOK = ("conv", "pool", "conv", "pool", "conv", "flatten", "dense")
CHANNELS = (5, 7, 11)


def build(
    *parts: str | layers.Layer,
    padding: str = "valid",
    head: str | None = "softmax",
    functional: bool = True,
    names: bool = False,
    **convolution: Any,
) -> keras.Model:
    """A model like the notebook's, with 5, 7 and 11 filters; `names` are in descending order."""
    filters = iter(CHANNELS)
    options = {"kernel_size": 3, "activation": "relu", "padding": padding, **convolution}
    makers: dict[str, Callable[..., layers.Layer]] = {
        "conv": lambda **name: layers.Conv2D(next(filters), **options, **name),
        "pool": lambda **name: layers.MaxPooling2D(2, **name),
        "flatten": layers.Flatten,
        "dense": lambda **name: layers.Dense(10, activation=head, **name),
    }
    chain = [
        makers[part](**({"name": f"z{99 - i}"} if names else {})) if isinstance(part, str) else part
        for i, part in enumerate(parts or NOTEBOOK)
    ]
    if not functional:
        return keras.Sequential([keras.Input((28, 28, 1)), *chain])
    inputs = x = keras.Input((28, 28, 1))
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def random_weights(model: keras.Model) -> keras.Model:
    """Random biases, too: Keras starts them at zero, where a lost bias would not show."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model


def describe(model: keras.Model) -> KerasFile:
    """What reading the model's file gives, without a file."""
    listed = [Layer(*layer) for layer in reader.list_layers(json.loads(model.to_json()))]
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    return KerasFile(Path("digits.keras"), listed, weights, {"float32"})


def probabilities(model: keras.Model, images: torch.Tensor) -> np.ndarray:
    return model.predict(images.numpy().reshape(-1, 28, 28, 1) / np.float32(255), verbose=0)


def edit_weights(digits: Path, edit: Callable[[h5py.File], Any]) -> bytes:
    """The .weights.h5 inside a .keras file, edited."""
    with zipfile.ZipFile(digits) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        edit(file)
    return content.getvalue()
