"""What a run trained, with the test images of its data set."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from mnist_cnn.data.datasets import FOLDER, SAMPLE, Images
from mnist_cnn.data.module import MNISTDataModule
from mnist_cnn.errors import InputError
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.runs.checkpoint import classifier_from, dataset_of, read_checkpoint
from mnist_cnn.runs.directory import checkpoint_file, run_of


class Trained(NamedTuple):
    """A classifier, and the data set that it was trained on: its name, and its images."""

    classifier: DigitClassifier
    dataset: str
    data: MNISTDataModule

    @property
    def test(self) -> Images:
        """The official test images."""
        assert self.data.dataset is not None
        return self.data.dataset.test


def load_trained(run_or_file: str | os.PathLike[str], data_dir: Path | None = None) -> Trained:
    """Load a checkpoint, and its data set: from `data_dir`, or from where the run had it.

    Raises InputError if one of them is missing or damaged.
    """
    path = checkpoint_file(run_or_file)
    checkpoint: dict[str, Any] = read_checkpoint(path)
    classifier = classifier_from(checkpoint, path)
    dataset = dataset_of(checkpoint) or "mnist"
    state = checkpoint.get("MNISTDataModule", {})
    own = {key: state[key] for key in ("reading", "test_size") if key in state}
    name = FOLDER if own else SAMPLE if dataset == "mnist-sample" else dataset
    had = str(run_of(path).result().get("data_dir", ""))  # perhaps on another machine
    here = had if os.path.isdir(had) else os.environ.get("MNIST_CNN_DATA", "data")  # noqa: PTH112 - is_dir may raise
    data = MNISTDataModule(data_dir or here, name, fallback="error")
    try:
        data.prepare_data()
    except InputError as error:
        raise InputError(f"{error}: give --data-dir") from error
    data.setup()
    return Trained(classifier, dataset, data)
