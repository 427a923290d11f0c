"""Read a Keras file on standard input as data: its layers and its weights.

`mnist_cnn.keras.files` runs this file as a process of its own, with limits on memory and time: one wrong bit can keep
the HDF5 library busy forever, and a small file can ask for gigabytes. Sizes are checked before anything is unpacked. A
fault in the file ends this process with an ordinary traceback. Keras is not needed, and nothing in the file is built or
run.
"""

import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # the members of a .keras file
_MEMORY = 2**29  # bytes
_MOST_BYTES = 2**26  # of the file, of each of its members, and of all weights as float32; the notebook's take 416,808
_MOST_TEXT = 2**20  # bytes of the configuration; the notebook's has 6,000
_BFLOAT16 = np.dtype("V2")  # as HDF5 stores it: the upper half of a float32
_VARIABLE = re.compile(r"(?:layers|_layer_checkpoint_dependencies)/([^/]+)/vars/\d+")  # Keras 3, Keras 2.13 to 2.15


def main() -> None:
    """Write the layers and the weights to standard output, as .npz."""
    with suppress(ImportError, ValueError):  # Windows has no such limit, and macOS may refuse it
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    _limit(len(content))
    config, weights = unpack(content)
    header = json.dumps(
        {
            "layers": None if config is None else list_layers(json.loads(config)),
            "weights": [layer for layer, _ in weights],
            "dtypes": sorted({"bfloat16" if array.dtype == _BFLOAT16 else str(array.dtype) for _, array in weights}),
        }
    )
    _limit(len(header), _MOST_TEXT)
    np.savez(sys.stdout.buffer, *[_as_float32(array) for _, array in weights], header=np.array(header))


def unpack(content: bytes) -> tuple[bytes | str | None, list[tuple[str, NDArray[Any]]]]:
    """Return the configuration (None in a file of weights only), and the arrays, each with its layer's name."""
    config = None
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in (CONFIG, WEIGHTS):
                _limit(archive.getinfo(member).file_size)
            config, content = archive.read(CONFIG), archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(content)) as file:
        datasets = list(_datasets(file))
        _limit(sum(math.prod(dataset.shape) * max(dataset.dtype.itemsize, 4) for _, dataset in datasets))
        config = file.attrs.get("model_config") if config is None else config
        _limit(len(config or ""), _MOST_TEXT)
        return config, [(layer, np.asarray(dataset[()])) for layer, dataset in datasets]


def _limit(size: int, most: int = _MOST_BYTES) -> None:
    if size > most:
        raise ValueError(f"it asks for {size:,} bytes, and {most:,} are allowed")


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield each layer's name and datasets: in the model's order, or by class and number where Keras keeps no other."""
    found: dict[str, Any] = {}
    links: dict[str, Any] = {}
    file.visititems(found.__setitem__)  # neither follows a link
    file.visititems_links(links.__setitem__)
    outside = [item for item in found.values() if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)]
    if outside or not all(isinstance(link, h5py.HardLink) for link in links.values()):
        raise ValueError("its weights lie behind a link or in another file")
    prefix, root = ("model_weights/", found["model_weights"]) if "model_weights" in found else ("", file)
    if "layer_names" in root.attrs:  # the older form
        for layer in dict.fromkeys(root.attrs["layer_names"].astype(str)):  # each once, however often it is named
            for weight in dict.fromkeys(found[prefix + layer].attrs["weight_names"].astype(str)):
                yield layer, found[f"{prefix}{layer}/{weight}"]
    for path, item in found.items():
        if match := _VARIABLE.fullmatch(path):
            yield match[1], item


def list_layers(model: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """List kind, name and settings of each layer. A model of another class is listed as one layer of that class."""
    entries = [model]
    if model["class_name"] in ("Sequential", "Functional", "Model"):  # before Keras 2.2.3 a Sequential was a bare list
        entries = model["config"] if isinstance(model["config"], list) else model["config"]["layers"]
    return [(_kind(entry), str(entry["config"].get("name", entry["class_name"])), entry["config"]) for entry in entries]


def _kind(entry: dict[str, Any]) -> str:
    kind, module = str(entry["class_name"]), entry.get("module") or ""
    if entry.get("registered_name") and not module.startswith("keras."):  # may be called Conv2D, too
        return f"custom class {kind}"
    return f"{kind} used more than once" if len(entry.get("inbound_nodes", [])) > 1 else kind


def _as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype == _BFLOAT16:
        return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


if __name__ == "__main__":
    main()
