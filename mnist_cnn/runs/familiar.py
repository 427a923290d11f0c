"""What a run's training images are like: measured at the first use, and kept beside its checkpoints."""

import hashlib
import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.familiarity import Familiarity, count_features, measure_familiarity
from mnist_cnn.runs.trained import load_trained

_LARGEST = 64 * 2**20  # bytes: of 1,000 classes; a stranger's file must not fill the memory


def load_familiarity(checkpoint: Path, classifier: DigitClassifier) -> Familiarity | None:
    """Return how the training images of a checkpoint's run differ; None if its data are not at hand."""
    file = checkpoint.with_suffix(".familiarity.npz")
    weights = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if not (features := count_features(classifier)):
        return None
    if (kept := _read(file, weights, (len(classifier.classes), features))) is not None:
        return kept
    try:
        trained = load_trained(checkpoint)
    except InputError:
        return None
    measured = measure_familiarity(classifier, trained.data.train)
    if measured is not None:
        content, (means, components) = io.BytesIO(), (each.half().numpy() for each in measured[:2])
        limit = np.array(measured.limit)
        np.savez(content, weights=np.array(weights), means=means, components=components, limit=limit)
        with suppress(OSError):  # a disk that is full or read-only: it will be measured again
            write_atomically(file, content.getvalue())
    return measured


def _read(file: Path, weights: str, shape: tuple[int, int]) -> Familiarity | None:
    """Return what was kept for these weights; None if there is nothing, or if it is damaged."""
    try:
        content = io.BytesIO(file.read_bytes())
        if sum(part.file_size for part in zipfile.ZipFile(content).infolist()) > _LARGEST:
            return None
        with np.load(content) as kept:  # refuses pickles
            found = {name: kept[name] for name in ("weights", "means", "components", "limit")}
        means, components = (torch.from_numpy(found[name]).float() for name in ("means", "components"))
        fits = components.ndim == 3 and components.shape[::2] == means.shape == shape and found["weights"] == weights
        numbers = fits and all(np.isfinite(found[name]).all() for name in ("means", "components", "limit"))
        return Familiarity(means, components, float(found["limit"])) if numbers else None
    except Exception:  # noqa: BLE001 - zipfile and numpy have many
        return None
