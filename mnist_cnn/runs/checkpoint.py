"""Read a checkpoint as data: tensors and primitives, each compared with what is expected.

Nothing that a checkpoint names is imported or called; its network comes from the closed `model.registry`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from mnist_cnn.differences import outdated_by
from mnist_cnn.errors import InputError
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.registry import outline_net
from mnist_cnn.runs import archive
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.runs.standing import explain_differences

_WRAPPED = re.compile(r"(?<![^.])(_orig_mod|module)\.")  # what torch.compile and DataParallel put into names

_KEPT: Final = {"label_smoothing": 0.0, "classes": None, "reading": "ink"}  # hyper-parameters beside the model


def load_classifier(run_or_file: str | os.PathLike[str], device: str | torch.device = "cpu") -> DigitClassifier:
    """Load the classifier that a run trained, in eval mode, on `device`.

    Takes a run directory (its last checkpoint) or a checkpoint file.
    Raises InputError if it is missing, damaged, or not a checkpoint of a DigitClassifier.
    """
    path = checkpoint_file(run_or_file)
    return classifier_from(read_checkpoint(path), path).to(device).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a DigitClassifier: tensors, on the CPU, and primitives.

    Raises InputError if the file is missing, damaged, asks for code, or is something else.
    """
    if path.suffix == ".safetensors":
        raise InputError(f"{path} holds only weights: its MODEL_CARD.md has the code that loads them")
    if path.suffix in (".keras", ".h5"):
        raise InputError(f"{path} is a Keras file: convert it with python -m mnist_cnn.keras import {path} OUT.ckpt")
    checkpoint = archive.read(path)
    match checkpoint:
        case {"state_dict": dict(), "hyper_parameters": {"model": dict(), **rest}} if not any(
            map(_is_lightnings, rest)
        ):
            return dict(checkpoint)
        case dict() if checkpoint and all(isinstance(each, torch.Tensor) for each in checkpoint.values()):
            found = "holds only weights, and does not say of which network: load them with load_state_dict"
        case _:
            found = "is not a checkpoint of a DigitClassifier: it lacks state_dict, or model in hyper_parameters"
    raise InputError(f"{path} {found}")


def _is_lightnings(key: object) -> bool:
    """Whether a hyper-parameter is Lightning's own: it imports the _instantiator that a file names."""
    return str(key).startswith("_")


def classifier_from(checkpoint: Mapping[str, Any], path: Path) -> DigitClassifier:
    """Build the classifier that a checkpoint read from `path` describes, with its weights in float32."""
    model, state = checkpoint["hyper_parameters"]["model"], checkpoint["state_dict"]
    try:
        net = outline_net(**model)
        weights = {_WRAPPED.sub("", str(name)): value for name, value in state.items()}
        net.load_state_dict({n[4:]: value for n, value in weights.items() if n.startswith("net.")}, assign=True)
        kept = {key: checkpoint["hyper_parameters"].get(key, neutral) for key, neutral in _KEPT.items()}
        classifier = DigitClassifier(model, net=net, **kept)
    except Exception as error:  # a file from elsewhere may have any value there
        raise InputError(f"{path} does not hold the network that it describes: {str(error)[:300]}") from error
    if not all(part.isfinite().all() for part in net.state_dict().values()):
        raise InputError(f"{path} is the state of a failed training: some of its weights are NaN or infinite")
    classifier.net = net.float().to(memory_format=torch.contiguous_format)  # a GPU's weights are in channels_last
    return classifier


def dataset_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the name of the data set that a checkpoint was trained on, if it has one."""
    match checkpoint:
        case {"MNISTDataModule": {"dataset": str(name)}}:
            return name
    return None


def check_resumable(path: Path, config: Mapping[str, Any], dataset: str) -> None:
    """Raise InputError, naming what differs, unless a training with these settings can resume from `path`."""
    try:
        checkpoint = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error}; resume=never starts over") from error
    try:
        then = {**checkpoint["config"], "dataset": dataset_of(checkpoint)}
        changed = outdated_by(then, {**config, "dataset": dataset})
    except (LookupError, TypeError, RuntimeError) as error:  # no settings, or tensors in their place
        raise InputError(f"{path} cannot be resumed: the settings of its training are missing or damaged") from error
    if changed:
        hint = "set the old value, another hydra.run.dir, or resume=never"
        raise InputError(f"{path} cannot be resumed: it was trained with {explain_differences(changed)}: {hint}")
