"""Keras's model files as data, read and written: their layers, and the weights of each.

A file's configuration is JSON, from which nothing is ever built; what would need code is refused.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.errors import InputError, shown
from mnist_cnn.keras import reader

_SECONDS = 20  # that reading a file may take; it takes 0.2

Weights = list[NDArray[np.float32]]  # of a layer: kernel, bias


class Layer(NamedTuple):
    """A layer as Keras describes it: its class, its name, its settings."""

    kind: str
    name: str
    config: dict[str, Any]

    def __str__(self) -> str:
        return f"{shown(self.name)} ({shown(self.kind)})"


class KerasFile(NamedTuple):
    """What a file holds: the layers in order (None in a file of weights alone), and by name the weights of each."""

    layers: list[Layer] | None
    weights: dict[str, Weights]
    dtypes: set[str]  # other than float32, in which the file keeps the weights or Keras computes


def read(path: Path) -> KerasFile:
    """Read a file of any kind, told apart by what it holds.

    Raises InputError, a line, if it is missing, damaged, too large, refers to other files, or would need code to run.
    """
    command = [sys.executable, "-P", "-m", reader.__name__, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path} is refused: reading it takes more than {_SECONDS} seconds") from error
    if done.returncode == 2:
        raise InputError(done.stderr.decode(errors="replace").splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise InputError(f"{path} is damaged, or no Keras file (its reader ended with status {done.returncode})")
    with reader.refusing(path), np.load(io.BytesIO(done.stdout)) as arrays:
        header = json.loads(arrays["header"].tobytes())
        layers = None if header["config"] is None else _layers(json.loads(header["config"]))
        weights: dict[str, Weights] = {}
        for index, name in enumerate(header["layers"]):
            weights.setdefault(name, []).append(arrays[str(index)])
        return KerasFile(layers, weights, {*header["dtypes"], *map(_policy, layers or [])} - {"float32"})


def weights_file(weights: Sequence[tuple[str, Weights]]) -> bytes:
    """Return the .weights.h5 of layers given as (Conv2D or Dense, weights), for Keras's load_weights."""
    content = io.BytesIO()
    with reader.h5py().File(content, "w") as file:
        seen: Counter[str] = Counter()
        for kind, arrays in weights:
            name = f"{kind.lower()}_{seen[kind]}" if seen[kind] else kind.lower()
            seen[kind] += 1
            for index, array in enumerate(arrays):
                file[f"layers/{name}/vars/{index}"] = array
    return content.getvalue()


def keras_file(layers: Sequence[Layer], weights: Sequence[tuple[str, Weights]]) -> bytes:
    """Return the .keras file of a Sequential model, not compiled, for keras.models.load_model."""
    entries = [
        {"module": "keras.layers", "class_name": layer.kind, "config": {"name": layer.name, **layer.config}}
        for layer in layers
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "mnist_cnn", "layers": entries}}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in (
            ("metadata.json", json.dumps({"keras_version": "3.0.0"})),
            (reader.CONFIG, json.dumps(config)),
            (reader.WEIGHTS, weights_file(weights)),
        ):
            archive.writestr(zipfile.ZipInfo(name), member)  # a fixed date: the same bytes for the same weights
    return content.getvalue()


def _layers(model: dict[str, Any]) -> list[Layer]:
    """List a model's layers; refuse what is no chain, or would need code."""
    config = model["config"]
    _refuse_code(model, "the model")
    if model["class_name"] not in ("Sequential", "Functional"):
        raise InputError(f"it is a {shown(model['class_name'])} where a Sequential or functional model is needed")
    layers = []
    for entry in config["layers"]:
        layer = Layer(str(entry["class_name"]), str(entry["config"].get("name")), dict(entry["config"]))
        _refuse_code(entry, str(layer))
        layers.append(layer)
    if model["class_name"] == "Functional":
        _check_chain(config, layers)
    elif layers and layers[0].kind != "InputLayer" and "build_input_shape" in config:
        layers.insert(0, Layer("InputLayer", "input", {"batch_shape": config["build_input_shape"]}))
    return layers


def _refuse_code(entry: dict[str, Any], name: str) -> None:
    package = str(entry.get("module") or "keras").partition(".")[0]
    if entry["class_name"] == "Lambda":
        raise InputError(f"{name} holds code, which is never run")
    if package != "keras" or ">" in str(entry.get("registered_name")):
        raise InputError(f"{name} is a custom class, whose code is never run")


def _check_chain(config: dict[str, Any], layers: list[Layer]) -> None:
    before: list[str] = []
    for layer, entry in zip(layers, config["layers"], strict=True):
        if list(_tensors(entry["inbound_nodes"])) != before:
            raise InputError(f"it is no chain of layers: {layer} does not take the one before")
        before = [layer.name]
    if list(_tensors(config["output_layers"])) != before:
        raise InputError("its output is not its last layer")


def _tensors(value: object) -> Iterator[str]:
    """Yield the layers whose outputs are named in a nest of dicts and lists: each as [name, node, tensor, ...]."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield value[0]
        else:
            for part in value:
                yield from _tensors(part)


def _policy(layer: Layer) -> str:
    """In which precision Keras computes a layer: a name, or since Keras 3 a configuration that has one."""
    dtype = layer.config.get("dtype") or "float32"
    return shown(dtype["config"]["name"] if isinstance(dtype, dict) else dtype)
