"""Checkpoints: written whole or not at all, read as data alone.

Nothing that a checkpoint says is imported or called: tensors and primitives are read (`weights_only=True`), and the
network comes from the closed registry.
"""

import io
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from mnist_cnn.classifier import DigitClassifier
from mnist_cnn.errors import InputError
from mnist_cnn.nets import outline_net
from mnist_cnn.runs import checkpoint_file, write_whole


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
        raise InputError(f"{path} is Keras's: give what python -m mnist_cnn.keras_io import {path} OUT.ckpt writes")
    try:
        with warnings.catch_warnings(action="ignore"):  # on the form of what is then refused
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} {_refusal(error)}") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"{path} is no checkpoint of a DigitClassifier, but a {type(checkpoint).__name__}")
    for key in ("hyper_parameters", "state_dict"):
        if not isinstance(checkpoint.get(key), dict):
            raise InputError(f"{path} is no checkpoint of a DigitClassifier: it has no {key}")
    if not isinstance(checkpoint["hyper_parameters"].get("model"), dict):
        raise InputError(f"{path} is no checkpoint of a DigitClassifier: it names no network")
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
    for name in [*expected, *given]:
        ours, theirs = _describe(expected.get(name)), _describe(given.get(name))
        if ours != theirs:
            raise InputError(f"{path} does not fit its network: {name} is {theirs} where {ours} is needed")
    classifier = DigitClassifier(model)
    classifier.net.load_state_dict(given)
    return classifier


def dataset_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the name of the data set that a checkpoint was trained on, if it says so."""
    state = checkpoint.get("MNISTDataModule")
    return str(state["dataset"]) if isinstance(state, dict) and "dataset" in state else None


def check_resumable(path: Path, config: Mapping[str, Any], dataset: str) -> None:
    """Raise InputError, naming the first difference, if a checkpoint was not trained with this configuration.

    Another accelerator is no difference, nor are more epochs, unless a scheduler has planned the steps.
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
        if before != after and key != "trainer.accelerator" and not (more_epochs and not planned):
            raise InputError(
                f"{path} cannot be resumed: it was trained with {key}={before}, now it is {after}: "
                "give what it was, another hydra.run.dir, or resume=never"
            )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all, and read by the one safe reader."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getvalue())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: object = None,
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class SaveLast(Checkpoint):
    """Keeps the newest complete state in one file: after every epoch, and after every `every_steps` steps.

    `config` becomes part of each checkpoint, so that a run goes on only with what it began with.
    """

    def __init__(self, path: Path, every_steps: int | None = None, config: Mapping[str, Any] | None = None) -> None:
        self.path, self.every_steps, self.config = path, every_steps, dict(config or {})

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.config

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        # at the epoch's last batch Lightning would resume behind the epoch's end: the save that follows is the one
        ends = batch_idx + 1 == trainer.num_training_batches
        if self.every_steps and trainer.global_step % self.every_steps == 0 and not ends:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.path)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_nested or value.is_quantized:
            return f"a tensor of layout {value.layout}"
        if value.untyped_storage().nbytes() < value.numel() * value.itemsize:
            return "a tensor without its numbers"
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "missing" if value is None else type(value).__name__


def _refusal(error: Exception) -> str:
    if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"is refused: it asks to call {code[1]}, and a checkpoint must hold tensors and primitives alone"
    return f"is damaged, or no checkpoint at all ({type(error).__name__})"
