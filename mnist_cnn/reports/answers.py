"""What a classifier answers on the test images, also when they are shifted, turned or distorted."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from scipy.stats import binomtest
from torch import Tensor

from mnist_cnn.data.datasets import Images
from mnist_cnn.data.distortions import distort
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.model.classifier import DigitClassifier

_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of confidence: most answers are near 1


class ConfidenceBin(NamedTuple):
    """The answers whose confidence lies above `low`, up to `high`: how many, how sure, and the share that is right."""

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


class Answers(NamedTuple):
    """Images, their labels, the probability of each class, and the names of the classes."""

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"]
    probabilities: Float[Tensor, "n classes"]
    classes: Sequence[str]

    @property
    def predicted(self) -> Int64[Tensor, " n"]:
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
        return order[(self.predicted != self.labels)[order]]

    @property
    def right(self) -> int:
        """The number of images that are classified correctly."""
        return len(self.labels) - len(self.wrong)

    def confidence_bins(self) -> list[ConfidenceBin]:
        """Group the answers by their confidence, from doubtful to sure; without empty groups."""
        confidence, right = self.confidence.double(), (self.predicted == self.labels).double()
        place = torch.bucketize(confidence, torch.tensor(_EDGES, dtype=torch.float64)) - 1  # a bin has its upper edge
        found = []
        for number, (low, high) in enumerate(pairwise(_EDGES)):
            if (here := place == number).any():
                mean = (float(confidence[here].mean()), float(right[here].mean()))
                found.append(ConfidenceBin(low, high, int(here.sum()), *mean))
        return found

    def calibration_error(self) -> float:
        """Return the expected calibration error: how far confidence and accuracy differ, on average over the answers.

        Guo et al. 2017, equation 3, here with the groups of `confidence_bins`.
        """
        gaps = [each.images * abs(each.accuracy - each.confidence) for each in self.confidence_bins()]
        return sum(gaps) / len(self.labels)

    def confusion(self) -> Int64[Tensor, "classes classes"]:
        """Count how often each label (row) got each answer (column)."""
        n = len(self.classes)
        return torch.bincount(self.labels * n + self.predicted, minlength=n**2).reshape(n, n)

    def by_class(self) -> list[tuple[str, int, float | None, float | None, float | None]]:
        """Return name, number of images, precision, recall and F1 of each class; None for 0 of 0."""
        counts = self.confusion()
        rows = zip(
            self.classes, counts.diag().tolist(), counts.sum(dim=0).tolist(), counts.sum(dim=1).tolist(), strict=True
        )
        return [
            (name, images, right / named if named else None, right / images if images else None,
             2 * right / (named + images) if named + images else None)
            for name, right, named, images in rows
        ]  # fmt: skip


def wilson(right: int, images: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's confidence interval for a share of images."""
    interval = binomtest(right, images).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def answer(classifier: DigitClassifier, test: Images) -> Answers:
    """Classify the test images."""
    return Answers(*test, classifier.predict(test.images).probabilities.cpu(), classifier.classes)


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


def spread_subset(test: Images, count: int) -> Images:
    """Return that many test images, evenly spaced: MNIST's first half is easier than its second."""
    chosen = torch.arange(count) * len(test.labels) // count if count < len(test.labels) else slice(None)
    return Images(*(part[chosen] for part in test))


def accuracy(classifier: DigitClassifier, test: Images) -> float:
    """Return the share of the images that a classifier has right."""
    right = classifier.predict(test.images).labels.cpu() == test.labels
    return float(right.double().mean())
