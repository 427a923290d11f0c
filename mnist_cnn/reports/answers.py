"""What a classifier answers on the test images, also when they are shifted, turned or distorted."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mnist_cnn.data.datasets import Images
from mnist_cnn.data.distortions import distort
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.nets import CLASSES


class Answers(NamedTuple):
    """Images, what they show, and the probability of each digit."""

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"]
    probabilities: Float[Tensor, "n 10"]

    @property
    def digits(self) -> Int64[Tensor, " n"]:
        """The answers."""
        return self.probabilities.argmax(dim=1)

    @property
    def confidence(self) -> Float[Tensor, " n"]:
        """The probability of each answer."""
        return self.probabilities.amax(dim=1)

    @property
    def wrong(self) -> Int64[Tensor, " wrong"]:
        """The indices of the misclassified images, the most confident first."""
        order = self.confidence.argsort(descending=True, stable=True)
        return order[(self.digits != self.labels)[order]]

    def confusion(self) -> Int64[Tensor, "10 10"]:
        """Count how often each label (row) got each answer (column)."""
        counts = torch.bincount(self.labels * CLASSES + self.digits, minlength=CLASSES**2)
        return counts.reshape(CLASSES, CLASSES)


def answer(classifier: DigitClassifier, test: Images) -> Answers:
    """Classify the test images."""
    return Answers(*test, classifier.predict(test.images).probabilities.cpu())


class Robustness(NamedTuple):
    """Accuracies of a classifier by the strength of a distortion, as in STRENGTHS."""

    kind: str
    strengths: Sequence[float]
    accuracy: Sequence[float]


def robustness(
    classifiers: Iterable[DigitClassifier], test: Images, kind: str, strengths: Sequence[float] = ()
) -> list[Robustness]:
    """Measure each classifier on the same distorted test images, at the strengths given or the usual ones."""
    strengths, classifiers = strengths or STRENGTHS[kind].usual, list(classifiers)
    views = (Images(distort(test.images, kind, strength), test.labels) for strength in strengths)
    by_strength = [[accuracy(classifier, view) for classifier in classifiers] for view in views]
    return [Robustness(kind, strengths, found) for found in zip(*by_strength, strict=True)]


def spread_subset(test: Images, images: int) -> Images:
    """Return so many of the test images, evenly spaced: MNIST's first half is easier than its second."""
    chosen = torch.arange(images) * len(test.labels) // images if images < len(test.labels) else slice(None)
    return Images(*(part[chosen] for part in test))


def accuracy(classifier: DigitClassifier, test: Images) -> float:
    """Return the share of the images that a classifier has right."""
    right = classifier.predict(test.images).digits.cpu() == test.labels
    return float(right.double().mean())
