"""Checkpoints are data: read as tensors and primitives, and held against what they should be before use.

Nothing that a checkpoint says is imported or called, and the network comes from the closed registry.
"""

import json
import os
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_cnn.errors import InputError, one_of, shown
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.nets import outline_net
from mnist_cnn.runs import archive
from mnist_cnn.runs.directory import checkpoint_file


def load_classifier(run_or_file: str | os.PathLike[str], device: str | torch.device = "cpu") -> DigitClassifier:
    """Load what a run trained, ready to predict: in eval mode, on `device`.

    Takes a run directory (its last checkpoint) or a checkpoint file.
    Raises InputError if it is missing, damaged, or no checkpoint of a DigitClassifier.
    """
    path = checkpoint_file(run_or_file)
    return classifier_from(read_checkpoint(path), path).to(device).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a DigitClassifier: tensors and primitives alone, on the CPU.

    Raises InputError if the file is missing, damaged, would run code, or is something else.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    if path.suffix in (".keras", ".h5"):
        raise InputError(f"{path} is Keras's: give what python -m mnist_cnn.keras import {path} OUT.ckpt writes")
    checkpoint = archive.read(path)
    if not isinstance(checkpoint, dict):
        raise InputError(f"{path} is no checkpoint of a DigitClassifier, but a {type(checkpoint).__name__}")
    for key in ("hyper_parameters", "state_dict"):
        if not isinstance(checkpoint.get(key), dict):
            raise InputError(f"{path} is no checkpoint of a DigitClassifier: it has no {key}")
    parameters = checkpoint["hyper_parameters"]
    if not isinstance(parameters.get("model"), dict):
        raise InputError(f"{path} is no checkpoint of a DigitClassifier: it names no network")
    for key in parameters:
        one_of(f"{path} cannot be used: its hyper-parameter", key, ["model"])
    return checkpoint


def classifier_from(checkpoint: Mapping[str, Any], path: Path) -> DigitClassifier:
    """Build the classifier that a checkpoint read from `path` describes, with its weights."""
    model = checkpoint["hyper_parameters"]["model"]
    try:
        expected = outline_net(**model).state_dict()
    except (InputError, TypeError) as error:
        raise InputError(f"{path} describes a network that cannot be built: {error}") from error
    given = {str(name): value for name, value in checkpoint["state_dict"].items()}
    given = {name.removeprefix("net."): value for name, value in given.items() if name.startswith("net.")}
    if (difference := _difference(given, expected)) is not None:
        raise InputError(f"{path} does not fit its network: {difference}")
    if not all(weights.isfinite().all() for weights in given.values()):
        raise InputError(f"{path} cannot be used: its weights are not all finite numbers")
    classifier = DigitClassifier(model)
    classifier.net.load_state_dict(given)
    return classifier


def dataset_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the name of the data set that a checkpoint was trained on, if it says so."""
    state = checkpoint.get("MNISTDataModule")
    return str(state["dataset"]) if isinstance(state, dict) and "dataset" in state else None


def check_resumable(path: Path, config: Mapping[str, Any], dataset: str, fresh: Mapping[str, Any]) -> None:
    """Raise InputError, naming the first difference, if a checkpoint was not trained with this configuration.

    Another accelerator is no difference, nor are more epochs, unless a scheduler has planned the steps.
    `fresh` holds parts of the checkpoint that such a training would write, after a step: the same names, shapes, types.
    """
    checkpoint = read_checkpoint(path)
    then, now = checkpoint.get("config"), {**config, "dataset": dataset}
    if not isinstance(then, dict):
        raise InputError(f"{path} cannot be resumed: it does not say what it was trained with")
    then = {**then, "dataset": dataset_of(checkpoint)}
    for key in sorted({*map(str, then), *now}):
        before, after = then.get(key), now.get(key)
        more_epochs = key == "trainer.max_epochs" and isinstance(before, int) and config[key] > before
        planned = any(other.startswith("scheduler.") for other in now)
        same = json.dumps(before, default=str) == json.dumps(after, default=str)  # whatever the file has there
        if not same and key != "trainer.accelerator" and not (more_epochs and not planned):
            raise InputError(
                f"{path} cannot be resumed: it was trained with {key}={shown(before)}, now it is {after}: "
                "give what it was, another hydra.run.dir, or resume=never"
            )
    if not _are_counts(checkpoint.get("loops")):
        raise InputError(f"{path} cannot be resumed: where it stood is not told in whole numbers")
    for part, expected in fresh.items():
        if (difference := _difference(checkpoint.get(part), expected, part)) is not None:
            raise InputError(f"{path} cannot be resumed: {difference}")


def _are_counts(value: object) -> bool:
    if isinstance(value, dict | list):
        return all(map(_are_counts, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and 0 <= value <= 10**9


def _difference(given: object, expected: object, name: str = "") -> str | None:
    """Say where two nests of dicts and lists first differ in their names, or in a tensor's type and shape."""
    ours, theirs = _describe(expected), _describe(given)
    if ours != theirs:
        return f"{name} is {theirs} where {ours} is needed"
    if name.endswith(".params") and given != expected:  # which weights the optimizer's numbers are of
        return f"{name} is {shown(given)} where {shown(expected)} is needed"
    if isinstance(given, dict) and isinstance(expected, dict):
        pairs = [(key, given.get(key), expected.get(key)) for key in [*expected, *given]]
    elif isinstance(given, list | tuple) and isinstance(expected, list | tuple):
        pairs = [(number, *both) for number, both in enumerate(zip_longest(given, expected))]
    else:
        return None
    differences = (_difference(a, b, f"{name}.{shown(key)}" if name else shown(key)) for key, a, b in pairs)
    return next((difference for difference in differences if difference is not None), None)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_nested or value.is_quantized:
            return f"a tensor of layout {value.layout}"
        if value.untyped_storage().nbytes() < value.numel() * value.itemsize:
            return "a tensor without its numbers"
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    for kind, types in {"a number": (int, float), "a dict": (dict,), "a list": (list, tuple)}.items():
        if isinstance(value, types):
            return kind
    return "missing" if value is None else type(value).__name__
