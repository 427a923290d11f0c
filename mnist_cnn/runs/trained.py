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
    is_there = os.path.exists(had)  # noqa: PTH110 - Path.exists may raise
    if own and not data_dir and not is_there:
        raise InputError(f"the pictures of this run, {had}, are not there: give --data-dir")
    here = had if is_there else os.environ.get("MNIST_CNN_DATA", "data")
    data = MNISTDataModule(data_dir or here, name, fallback="error", **own)
    try:
        data.prepare_data()
        data.setup()
    except InputError as error:
        raise InputError(f"{error}: give --data-dir") from error
    assert data.dataset is not None
    if own and data.dataset.classes != classifier.classes:
        raise InputError(f"{data.dir} has other classes than the run: give --data-dir")
    if own and data_dir is None and data.dataset.name != dataset:
        raise InputError(f"{data.dir} has changed since the training: give it as --data-dir to use it as it is")
    return Trained(classifier, data.dataset.name, data)
