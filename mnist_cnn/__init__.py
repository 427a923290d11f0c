"""The Keras MNIST convnet as PyTorch Lightning + Hydra software.

`python -m mnist_cnn.train` trains it; `load_classifier(run)` loads what was trained.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_cnn.checkpoint import load_classifier
    from mnist_cnn.classifier import DigitClassifier
    from mnist_cnn.data import MNISTDataModule
    from mnist_cnn.nets import ConvNet, DenseNet

__version__ = "0.1.0"
__all__ = ["ConvNet", "DenseNet", "DigitClassifier", "MNISTDataModule", "__version__", "load_classifier"]

_HOME = {
    "load_classifier": "checkpoint",
    "DigitClassifier": "classifier",
    "MNISTDataModule": "data",
    "ConvNet": "nets",
    "DenseNet": "nets",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `--help` must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
