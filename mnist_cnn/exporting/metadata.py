"""What programs read about exported weights: the YAML of the Hugging Face Hub, and the metadata of ONNX."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mnist_cnn import __version__
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.runs.directory import run_of

_HUB_DATASETS = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}  # the Hub's names
_TASK = "image-classification"


def result_of(checkpoint: Path) -> dict[str, Any]:
    """Return the result of a complete run for the checkpoint with its tested weights; empty for any other."""
    run = run_of(checkpoint)
    is_tested = checkpoint.resolve() == run.trained and run.result().get("status") == "complete"
    return run.result() if is_tested else {}


def hub_metadata(title: str, licence: str, dataset: str | None, result: Mapping[str, Any]) -> str:
    """Return the YAML with which a model card on the Hub begins. Without a result it has no accuracy."""
    on_hub = _HUB_DATASETS.get(str(dataset))
    metadata: dict[str, Any] = {"license": licence, "library_name": "pytorch", "pipeline_tag": _TASK}
    if on_hub:
        metadata["datasets"] = [on_hub]
    if dataset and "test/acc" in result:
        accuracy = {"type": "accuracy", "name": "test accuracy", "value": result["test/acc"]}
        tested_on = {"name": dataset, "type": on_hub or dataset, "split": "test"}
        tested = {"task": {"type": _TASK}, "dataset": tested_on, "metrics": [accuracy]}
        metadata |= {"metrics": ["accuracy"], "model-index": [{"name": title, "results": [tested]}]}
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n"


def onnx_metadata(
    classifier: DigitClassifier, dataset: str | None, result: Mapping[str, Any], uint8: bool
) -> dict[str, str]:
    """Return what an ONNX file tells about its images, its classes, and its accuracy if there is a result."""
    metadata = {
        "classes": json.dumps([*classifier.classes]),
        "range": "0-255" if uint8 else "0-1",
        "version": f"mnist_cnn {__version__}",
    }
    if classifier.reading == "ink":  # pictures of other kinds are only resized
        metadata["polarity"] = "light ink on a dark background"
    if dataset:
        metadata["dataset"] = dataset
    if "test/acc" in result:
        metadata |= {"accuracy": str(result["test/acc"]), "test_images": str(result.get("test_images", ""))}
    return metadata
