"""Keras's model files: read as data in a process of their own, and written."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.keras import reader

_SECONDS = 20  # reading a file takes 0.3

Weights = list[NDArray[np.float32]]  # of one layer: kernel, bias; or gamma, beta, moving mean, moving variance


class Layer(NamedTuple):
    """A layer as Keras describes it: its class, its name, its settings."""

    kind: str
    name: str
    config: dict[str, Any]

    def __str__(self) -> str:
        return f"layer {abbreviate(self.name)} ({abbreviate(self.kind)})"


class KerasFile(NamedTuple):
    """The content of a file: the layers (None in a file of weights only), and the weights of each layer by its name."""

    path: Path
    layers: list[Layer] | None
    weights: dict[str, Weights]
    dtypes: set[str]  # in which the file stores the weights


def read(path: Path) -> KerasFile:
    """Read a .keras, .weights.h5 or older .h5 file.

    Raises OSError if it cannot be opened, InputError if it is damaged, too large, or not a Keras file.
    """
    if not path.is_file():  # opening a pipe waits until something is written to it
        raise InputError(f"{path} is not a file")
    command = [sys.executable, "-P", reader.__file__]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread takes memory
    try:
        with path.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=_SECONDS, env=environment)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path} is damaged: reading it takes more than {_SECONDS} seconds") from error
    if done.returncode:
        *_, reason = [f"status {done.returncode}", *done.stderr.decode(errors="replace").splitlines()]
        raise InputError(f"{path} is damaged, too large, or not a Keras file ({reason})")
    try:
        return _parse(path, done.stdout)
    except RecursionError as error:  # this process may stand deeper in its stack
        raise InputError(f"{path} is damaged: its configuration is nested too deeply") from error


def _parse(path: Path, content: bytes) -> KerasFile:
    weights: dict[str, Weights] = {}
    with np.load(io.BytesIO(content)) as arrays:
        header = json.loads(str(arrays["header"]))
        for number, layer in enumerate(header["weights"]):
            weights.setdefault(layer, []).append(arrays[f"arr_{number}"])
    layers = None if header["layers"] is None else [Layer(*layer) for layer in header["layers"]]
    return KerasFile(path, layers, weights, set(header["dtypes"]))


def weights_file(weights: Sequence[Weights]) -> bytes:
    """Return the content of a .weights.h5 file, for Keras's load_weights."""
    kinds = [kind_of(arrays) for arrays in weights]
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for index, (kind, arrays) in enumerate(zip(kinds, weights, strict=True)):
            before = kinds[:index].count(kind)
            for number, array in enumerate(arrays):
                file[f"layers/{f'{kind}_{before}' if before else kind}/vars/{number}"] = array
    return content.getvalue()


def kind_of(weights: Weights) -> str:
    """Return what Keras calls a layer with these weights: conv2d, dense or batch_normalization."""
    return {4: "conv2d", 2: "dense"}.get(weights[0].ndim, "batch_normalization")


def keras_file(layers: Sequence[Layer], weights: Sequence[Weights]) -> bytes:
    """Return the content of a .keras file, for keras.models.load_model: a Sequential model, not compiled."""
    entries = [
        {"module": "keras.layers", "class_name": layer.kind, "config": {"name": layer.name, **layer.config}}
        for layer in layers
    ]
    model = {"module": "keras", "class_name": "Sequential", "config": {"name": "mnist_cnn", "layers": entries}}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # ZipInfo has a fixed date: same weights, same bytes
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps({"keras_version": "3.0.0"}))
        archive.writestr(zipfile.ZipInfo(reader.CONFIG), json.dumps(model))
        archive.writestr(zipfile.ZipInfo(reader.WEIGHTS), weights_file(weights))
    return content.getvalue()
