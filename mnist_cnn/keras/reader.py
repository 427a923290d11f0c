"""The weights and the configuration in a Keras file: .keras, .weights.h5, or the older .h5 of a model or of weights.

`python -m mnist_cnn.keras.reader FILE` writes them to standard output, as .npz. `keras_files` runs it as a process of
its own: a single wrong bit keeps the HDF5 library busy for ever, and a small file can ask for gigabytes.
Nothing in a file is run. h5py is needed for it, Keras is not.
"""

import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.errors import InputError, run_command

_LARGEST = 2**27  # bytes of a file, and of all weights in it; the notebook's network has 2**19
_LARGEST_CONFIG = 2**22
_MEMORY = 2**31  # bytes that reading may take, this program included
_BFLOAT16 = np.dtype("V2")  # as HDF5 keeps it: the upper half of a float32
CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # the members of a .keras zip


def main() -> None:
    """Read the file that the command line names."""
    with suppress(ImportError, ValueError):  # Windows has no such limit, and macOS may refuse it
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    h5py()
    path = Path(sys.argv[1])
    with refusing(path):
        config, weights = _read(_content(path))
        header = {
            "config": config,
            "layers": [name for name, _ in weights],
            "dtypes": sorted({_precision(array) for _, array in weights}),
        }
        arrays: dict[str, Any] = {str(index): _as_float32(array) for index, (_, array) in enumerate(weights)}
        np.savez(sys.stdout.buffer, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn whatever a file at `path` makes its reader raise into an InputError of one line."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} is refused: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path} is refused: reading it takes more than {_MEMORY:,} bytes of memory") from error
    except Exception as error:  # what damage makes zipfile, json and h5py raise
        raise InputError(f"{path} is damaged, or no Keras file ({type(error).__name__})") from error


def h5py() -> Any:
    """Import h5py. Raises InputError, saying what to install, if it is not there."""
    try:
        return import_module("h5py")
    except ImportError as error:
        raise InputError("Keras files need a package more: pip install 'mnist_cnn[keras]'") from error


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError("it is no file: give a .keras, .weights.h5 or .h5 file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise InputError(f"it has more than {_LARGEST:,} bytes")
    return content


def _read(content: bytes) -> tuple[str | None, list[tuple[str, NDArray[Any]]]]:
    """Return the configuration, None in a file of weights alone, and the arrays, each with its layer's name."""
    config: bytes | str | None = None
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if PurePosixPath(name.replace("\\", "/")).is_absolute() or ".." in re.split(r"[/\\]", name):
                    raise InputError(f"it holds a file {name!r} that would lie outside")
            config, content = _member(archive, CONFIG), _member(archive, WEIGHTS)
    with h5py().File(io.BytesIO(content), "r") as file:
        config = file.attrs.get("model_config") if config is None else config
        if config is not None and len(config) > _LARGEST_CONFIG:
            raise InputError(f"its configuration has more than {_LARGEST_CONFIG:,} bytes")
        return None if config is None else _text(config), _arrays(file)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if (count := archive.namelist().count(name)) != 1:
        raise InputError(f"it is no .keras file: it holds {count} files {name} where one is needed")
    if archive.getinfo(name).file_size > _LARGEST:
        raise InputError(f"its {name} has more than {_LARGEST:,} bytes")
    return archive.read(name)


def _arrays(file: Any) -> list[tuple[str, NDArray[Any]]]:
    arrays, size = [], 0
    for name, dataset in _stored(file):
        size += prod(dataset.shape) * dataset.dtype.itemsize
        if size > _LARGEST:
            raise InputError(f"its weights have more than {_LARGEST:,} bytes")
        if dataset.dtype.kind != "f" and dataset.dtype != _BFLOAT16:
            raise InputError(f"its weights are {dataset.dtype} where floating point is needed")
        arrays.append((name, dataset[()]))
    return arrays


def _stored(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield each layer's name and arrays: in the model's order, or by class and number where Keras keeps no other."""
    if "layer_names" in file.attrs or "model_weights" in file:  # the older form
        root = file if "layer_names" in file.attrs else _child(file, "model_weights")
        for name in map(_text, root.attrs["layer_names"]):
            group = _child(root, name)
            for weight in map(_text, group.attrs["weight_names"]):
                yield name, _child(group, weight)
        return
    older = "_layer_checkpoint_dependencies"  # as Keras 2.13 and later 2.x call the folder
    root = older if older in file else "layers"
    for name in _child(file, root) if root in file else ():
        group = _child(file, f"{root}/{name}")
        if "vars" in group:
            variables = _child(group, "vars")
            for index in variables:
                yield name, _child(variables, index)


def _child(group: Any, path: str) -> Any:
    """Return what lies in the file itself at a path: links may lead to other files."""
    library = h5py()
    for part in path.split("/"):
        link = group.get(part, getlink=True)
        if not isinstance(link, library.HardLink):
            raise InputError(f"it has no {path}" if link is None else f"its {path} is a link")
        group = group[part]
    if isinstance(group, library.Dataset) and (group.external or group.is_virtual):
        raise InputError(f"its {path} lies in another file")
    return group


def _precision(array: NDArray[Any]) -> str:
    return "bfloat16" if array.dtype == _BFLOAT16 else str(array.dtype)


def _as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype == _BFLOAT16:
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("its weights are not all finite numbers")
    return values


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    run_command(main)
