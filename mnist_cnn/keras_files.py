"""Keras's model files as data: .keras, .weights.h5, and the older .h5 of a whole model or of weights.

Nothing in a file is run: its configuration is JSON, its weights are arrays. h5py is needed for it, Keras is not.
The order of layers in files of weights is that of keras/src/saving/saving_lib.py: by class, then by number.
"""

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.errors import InputError

_LARGEST = 2**29  # bytes of a file, and of all weights in it; the notebook's network has 2**19
_LARGEST_JSON = 2**22
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # the members of a .keras zip
_OURS = {"keras", "tf_keras"}  # the packages whose classes are Keras's own

Weights = list[NDArray[np.float32]]  # of a layer: kernel, bias


class Layer(NamedTuple):
    """A layer as Keras describes it: its class, its name, its settings."""

    kind: str
    name: str
    config: dict[str, Any]


class KerasFile(NamedTuple):
    """What a file holds: the layers in order (None in a file of weights alone), and by name the weights of each."""

    layers: list[Layer] | None
    weights: dict[str, Weights]
    dtypes: set[str]  # in which the file keeps the weights; here they are float32


def read(path: Path) -> KerasFile:
    """Read a file of either kind, told apart by what it holds.

    Raises InputError, a line, if it is missing, damaged, too large, refers to other files, or would need code to run.
    """
    h5py = _h5py()
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is refused: it has more than {_LARGEST:,} bytes")
    try:
        with path.open("rb") as start:
            is_zip = start.read(2) == b"PK"
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                config = json.loads(_member(archive, _CONFIG, _LARGEST_JSON))
                weights = _member(archive, _WEIGHTS, _LARGEST)
            with h5py.File(io.BytesIO(weights), "r") as file:
                return KerasFile(_layers(config), *_read_weights(file))
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            layers = None if config is None else _layers(json.loads(config))
            return KerasFile(layers, *_read_weights(file))
    except InputError as error:
        raise InputError(f"{path} is refused: {error}") from error
    except Exception as error:  # whatever a damaged file makes zipfile, json and h5py raise
        raise InputError(f"{path} is damaged, or no Keras file ({type(error).__name__})") from error


def weights_file(weights: Sequence[tuple[str, Weights]]) -> bytes:
    """Return the .weights.h5 of layers given as (Conv2D or Dense, weights), for Keras's load_weights."""
    content = io.BytesIO()
    with _h5py().File(content, "w") as file:
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
            (_CONFIG, json.dumps(config)),
            (_WEIGHTS, weights_file(weights)),
        ):
            archive.writestr(zipfile.ZipInfo(name), member)  # a fixed date: the same bytes for the same weights
    return content.getvalue()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError("Keras files need a package more: pip install 'mnist_cnn[keras]'") from error
    return h5py


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    names = archive.namelist()
    for each in names:
        if PurePosixPath(each.replace("\\", "/")).is_absolute() or ".." in re.split(r"[/\\]", each):
            raise InputError(f"it holds a file {each!r} that would lie outside")
    if names.count(name) != 1:
        raise InputError(f"it holds {names.count(name)} files {name} where one is needed")
    info = archive.getinfo(name)
    if info.file_size > largest:
        raise InputError(f"its {name} has {info.file_size:,} bytes, more than {largest:,}")
    return archive.read(info)


def _layers(model: dict[str, Any]) -> list[Layer]:
    """List a model's layers; refuse what is no chain, or would need code."""
    config = model["config"]
    _refuse_code(model, "the model")
    if model["class_name"] not in ("Sequential", "Functional", "Model"):
        raise InputError(f"it is a {model['class_name']} where a Sequential or functional model is needed")
    layers = []
    for entry in config["layers"]:
        layer = Layer(_text(entry["class_name"]), _text(entry["config"].get("name", "?")), dict(entry["config"]))
        _refuse_code(entry, f"{layer.name} ({layer.kind})")
        layers.append(layer)
    if model["class_name"] != "Sequential":
        _check_chain(config, layers)
    elif layers and layers[0].kind != "InputLayer" and "build_input_shape" in config:
        layers.insert(0, Layer("InputLayer", "input", {"batch_shape": config["build_input_shape"]}))
    return layers


def _refuse_code(entry: dict[str, Any], name: str) -> None:
    package = str(entry.get("module") or "keras").partition(".")[0]
    if entry["class_name"] == "Lambda":
        raise InputError(f"{name} holds code, which is never run")
    if package not in _OURS or ">" in str(entry.get("registered_name")):
        raise InputError(f"{name} is a custom class, whose code is never run")


def _check_chain(config: dict[str, Any], layers: list[Layer]) -> None:
    before: list[str] = []
    for layer, entry in zip(layers, config["layers"], strict=True):
        inputs = list(_tensors(entry["inbound_nodes"]))
        if inputs != before:
            raise InputError(f"it is no chain of layers: {layer.name} ({layer.kind}) does not take the one before")
        before = [entry["config"]["name"]]
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


def _read_weights(file: Any) -> tuple[dict[str, Weights], set[str]]:
    weights: dict[str, Weights] = {}
    dtypes: set[str] = set()
    size = 0
    for name, datasets in _stored(file):
        for dataset in datasets:
            size += prod(dataset.shape) * dataset.dtype.itemsize
            if size > _LARGEST:
                raise InputError(f"its weights have more than {_LARGEST:,} bytes")
            array, dtype = _read_array(dataset)
            weights.setdefault(name, []).append(array)
            dtypes.add(dtype)
    return weights, dtypes


def _stored(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield each layer's name and datasets, in the order of the model."""
    if "layer_names" in file.attrs or "model_weights" in file:  # the older form
        root = file if "layer_names" in file.attrs else _child(file, "model_weights")
        for name in map(_text, root.attrs["layer_names"]):
            group = _child(root, name)
            yield name, [_child(group, _text(weight)) for weight in group.attrs["weight_names"]]
        return
    # Keras 2.13 called the folder otherwise
    root = _child(file, "layers" if "layers" in file else "_layer_checkpoint_dependencies")
    for name in sorted(root, key=_class_and_number):
        group = _child(root, name)
        if "vars" in group:
            variables = _child(group, "vars")
            yield name, [_child(variables, index) for index in sorted(variables, key=int)]


def _child(group: Any, path: str) -> Any:
    """Return what lies in the file itself at a path: links may lead to other files."""
    h5py = _h5py()
    for part in path.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"it has no {path}" if link is None else f"its {path} is a link")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise InputError(f"its {path} lies in another file")
    return group


def _read_array(dataset: Any) -> tuple[NDArray[np.float32], str]:
    values = dataset[()]
    if values.dtype == "V2":  # as HDF5 keeps bfloat16, the upper half of a float32
        bits = values.view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32), "bfloat16"
    if values.dtype.kind != "f":
        raise InputError(f"its weights are {values.dtype} where floating point is needed")
    return values.astype(np.float32), str(values.dtype)


def _class_and_number(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isdecimal() else (name, 0)


def _text(value: object) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if len(text) > 100 or not text.isprintable():
        raise InputError("it has a name that is none")
    return text
