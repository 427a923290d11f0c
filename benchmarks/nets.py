"""Other networks of at most 105,000 weights: `python -m mnist_cnn.train model=own model.name=benchmarks.nets.NAME`."""

from collections import OrderedDict

from torch import nn

from mnist_cnn.model.nets import CLASSES, Layers, initialise_like_keras


class BeautifulMNIST(Layers):
    """The network of tinygrad's examples/beautiful_mnist.py: 87,850 weights, two of four kernels 5x5, batch norm.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, classes).
    """

    def __init__(self, classes: int = CLASSES) -> None:
        layers = OrderedDict[str, nn.Module]()
        layers["conv1"], layers["relu1"] = nn.Conv2d(1, 32, 5), nn.ReLU()
        layers["conv2"], layers["relu2"] = nn.Conv2d(32, 32, 5), nn.ReLU()
        layers["norm2"], layers["pool2"] = nn.BatchNorm2d(32), nn.MaxPool2d(2)
        layers["conv3"], layers["relu3"] = nn.Conv2d(32, 64, 3), nn.ReLU()
        layers["conv4"], layers["relu4"] = nn.Conv2d(64, 64, 3), nn.ReLU()
        layers["norm4"], layers["pool4"] = nn.BatchNorm2d(64), nn.MaxPool2d(2)
        layers["flatten"], layers["dense"] = nn.Flatten(), nn.Linear(576, classes)
        super().__init__(layers)
        initialise_like_keras(self)
