"""Keras models of the notebook's kind and of others, built in Keras, and their files, copied with other contents."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from mnist_cnn.errors import InputError
from mnist_cnn.keras.__main__ import import_keras
from tests.conftest import one_line

NOTEBOOK = ("conv", "pool", "conv", "pool", "conv", "flatten", "dense")
CHANNELS = (5, 7, 11)


def build(
    *parts: str | layers.Layer,
    padding: str = "valid",
    head: str | None = "softmax",
    functional: bool = True,
    names: bool = False,
    shape: tuple[int, ...] = (28, 28, 1),
    **convolution: Any,
) -> keras.Model:
    """A model of the notebook's kind, with filters 5, 7, 11 or what `convolution` says."""
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
        return keras.Sequential([keras.Input(shape), *chain])
    inputs = x = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def random_weights(model: keras.Model) -> keras.Model:
    """Biases too: a model fresh from Keras would not show one that was lost."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model


def probabilities(model: keras.Model, images: torch.Tensor) -> np.ndarray:
    return model.predict(images.numpy().reshape(-1, 28, 28, 1) / np.float32(255), verbose=0)


def refuse(file: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        import_keras(file, file.parent / "a.ckpt")
    assert str(refused.value).startswith(str(file))
    one_line(f"error: {refused.value}\n")
    assert not (file.parent / "a.ckpt").exists()


def rezip(digits: Path, out: Path, **members: bytes | None) -> None:
    """Copy a .keras with other members: config_json=..., weights=...; None leaves one out."""
    names = {"config_json": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(digits) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = {names[key]: value for key, value in members.items()}.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
