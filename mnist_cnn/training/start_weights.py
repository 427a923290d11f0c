"""Initialise a network from trained weights: layers that match by name and shape are copied, the others stay random."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnist_cnn.errors import InputError, missing_package
from mnist_cnn.runs.checkpoint import load_classifier, read_checkpoint

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """What a training starts from: its name, its weights, and its classes, if a file says which."""

    name: str
    weights: dict[str, Tensor]
    classes: tuple[str, ...] | None


def read_weights(source: str) -> Source:
    """Return the weights of a run, a checkpoint, or a Keras or safetensors file, by their names in the network.

    Raises InputError if there is none, or if it cannot be read.
    """
    path, classes = Path(source), None
    if path.suffix in (".keras", ".h5"):
        weights = _read_keras(path)
    elif path.suffix == ".safetensors":
        weights = _read_safetensors(path)
    else:
        classifier = load_classifier(path)
        weights = classifier.net.state_dict()
        classes = classifier.classes
    weights = {name: part.float() for name, part in weights.items()}
    if not all(part.isfinite().all() for part in weights.values()):
        raise InputError(f"start_from={source} holds weights that are NaN or infinite")
    return Source(source, weights, classes)


def digest_of(checkpoint: Path) -> str | None:
    """Return the hash of the weights that the run of a checkpoint started from, if it did: they may be gone since."""
    with suppress(InputError, AttributeError, LookupError):  # a damaged checkpoint is reported later
        kept = read_checkpoint(checkpoint)["config"].get("start_from.weights")
        return None if kept is None else str(kept)
    return None


def digest(weights: Mapping[str, Tensor]) -> str:
    """Hash weights: 12 hexadecimal digits."""
    parts = [name.encode() + weights[name].contiguous().numpy().tobytes() for name in sorted(weights)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


@torch.no_grad()
def start_from(source: Source, net: nn.Module, classes: Sequence[str]) -> None:
    """Copy the weights that fit into a network, layer by layer, and log which.

    The last layer of other classes does not fit. Raises InputError if none fits.
    """
    ours, (name, weights, known) = net.state_dict(), source
    layers = defaultdict[str, list[str]](list)
    for key in ours:
        layers[key.rpartition(".")[0]].append(key)
    taken = [layer for layer, keys in layers.items() if all(_fits(weights.get(key), ours[key]) for key in keys)]
    if known is not None and known != tuple(classes) and taken[-1:] == [*layers][-1:]:
        del taken[-1]
    if not taken:
        raise InputError(f"start_from={name} has no layer that fits this network by name and shape")
    for key in (key for layer in taken for key in layers[layer]):
        ours[key].copy_(weights[key])
    anew = [layer for layer in layers if layer not in taken]
    log.info("starts from %s: %s%s", name, ", ".join(taken), f"; newly initialised: {', '.join(anew)}" if anew else "")


def _fits(given: Tensor | None, ours: Tensor) -> bool:
    return given is not None and given.shape == ours.shape


def _read_keras(path: Path) -> dict[str, Tensor]:
    try:
        from mnist_cnn.keras import files
    except ImportError as error:
        raise missing_package("Keras files need h5py", "keras") from error
    from mnist_cnn.keras import nets
    from mnist_cnn.keras.weights import to_torch
    from mnist_cnn.model.nets import layers_of
    from mnist_cnn.model.registry import outline_net

    file = files.read(path)
    return to_torch(layers_of(outline_net(**nets.recognize(file))), file.weights)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise missing_package(".safetensors files need safetensors", "export") from error
    try:
        return load(path.read_bytes())
    except Exception as error:  # safetensors has its own
        raise InputError(f"{path} cannot be read: {error}") from error
