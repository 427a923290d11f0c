"""The Keras MNIST convnet as PyTorch Lightning + Hydra software.

`python -m mnist_cnn.train` trains it; `load_classifier(run)` loads what was trained.
"""

import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "ConvNet",
    "DenseNet",
    "DigitClassifier",
    "MNISTDataModule",
    "__version__",
    "load_classifier",
    "register_net",
]

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a command is being imported: until it starts, Ctrl-C just ends it

_HOME = {
    "load_classifier": "runs.checkpoint",
    "DigitClassifier": "model.classifier",
    "MNISTDataModule": "data.module",
    "ConvNet": "model.nets",
    "DenseNet": "model.nets",
    "register_net": "model.registry",
}


if TYPE_CHECKING:
    from mnist_cnn.data.module import MNISTDataModule
    from mnist_cnn.model.classifier import DigitClassifier
    from mnist_cnn.model.nets import ConvNet, DenseNet
    from mnist_cnn.model.registry import register_net
    from mnist_cnn.runs.checkpoint import load_classifier
else:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: `--help` must not wait for torch."""
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if "torch" not in sys.modules:
            import_module("mnist_cnn.cli").prepare_machine()  # as commands do; torch reads it once
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
