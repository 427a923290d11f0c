"""Familiarity: test images resemble the training images, others do not; the distance is that of a projection."""

import numpy as np
import pytest
import torch
from torch import nn

from mnist_cnn import DigitClassifier
from mnist_cnn.data.datasets import Dataset, Images
from mnist_cnn.model.familiarity import Familiarity, measure_familiarity, read_features
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Trained


def test_few_test_images_are_unfamiliar_and_most_of_what_shows_two_digits_is(sample: Dataset, trained: Trained) -> None:
    classifier = load_classifier(trained.path)
    found = measure_familiarity(classifier, sample.train)
    assert found is not None
    assert found.are_unfamiliar(classifier, sample.test.images).float().mean() < 0.06
    squeezed = sample.test.images[:, :, ::2, ::2]
    two = torch.zeros_like(sample.test.images)
    two[:, :, 7:21, :14], two[:, :, 7:21, 14:] = squeezed, squeezed.roll(501, dims=0)
    assert found.are_unfamiliar(classifier, two).float().mean() > 0.5


def test_the_distance_is_what_no_combination_of_components_reaches() -> None:
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(3, 20, generator=draw)
    components = torch.linalg.qr(torch.randn(3, 20, 4, generator=draw)).Q.transpose(1, 2)
    features, labels = torch.randn(5, 20, generator=draw), torch.tensor([0, 1, 2, 2, 0])
    found = Familiarity(means, components, 0.0).distances(features, labels)
    for distance, x, label in zip(found, features, labels, strict=True):
        rest = (x - means[label]).numpy()
        _, residual, _, _ = np.linalg.lstsq(components[label].T.numpy(), rest, rcond=None)
        assert distance == pytest.approx(residual[0], rel=1e-4)


def test_it_is_not_measured_for_few_images_or_without_a_linear_layer(sample: Dataset) -> None:
    few = Images(sample.train.images[::100], sample.train.labels[::100])
    assert measure_familiarity(DigitClassifier(), few) is None
    small = DigitClassifier({"name": "conv", "channels": [4], "hidden": 8})
    assert measure_familiarity(small, sample.train) is None
    only_convolutions = nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten())
    assert measure_familiarity(DigitClassifier(net=only_convolutions), sample.train) is None


class Twice(nn.Module):
    """Its last linear layer is called twice, by keyword, or not at all."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head, self.last = how, nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        results = {"unused": lambda: self.head(x), "keyword": lambda: self.last(input=x)}
        return results.get(self.how, lambda: self.last(x) + self.last(x))()


@pytest.mark.parametrize("how", ["twice", "keyword", "unused"])
def test_a_linear_layer_used_in_another_way_is_no_error(how: str, sample: Dataset) -> None:
    assert measure_familiarity(DigitClassifier(net=Twice(how)), sample.train) is None


def test_the_order_of_the_training_images_does_not_matter(sample: Dataset) -> None:
    by_class = [(sample.train.labels == label).nonzero()[:60, 0] for label in range(10)]
    cyclic = sample.train.subset(torch.stack(by_class, dim=1).flatten())
    assert cyclic.labels[:12].tolist() == [*range(10), 0, 1]
    assert measure_familiarity(DigitClassifier({"name": "conv", "channels": [8]}), cyclic) is not None


def test_measuring_draws_no_random_numbers_and_gives_the_same_each_time(sample: Dataset) -> None:
    classifier, before = DigitClassifier({"name": "conv", "channels": [4]}), torch.get_rng_state()
    first, second = (measure_familiarity(classifier, sample.train) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first is not None
    assert second is not None
    assert torch.equal(first.components, second.components)
    assert first.limit == second.limit


def test_many_features_are_averaged(sample: Dataset) -> None:
    classifier = DigitClassifier({"name": "conv", "channels": [4], "pooling": "none", "padding": "same"})
    features, answers = read_features(classifier, sample.test.images[:3])
    assert features.shape == (3, 1152)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert answers.tolist() == classifier.predict(sample.test.images[:3]).labels.tolist()
