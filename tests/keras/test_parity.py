"""The twin, held against the real Keras 3: outputs, gradients, optimizer steps, initial weights, whole trainings."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from benchmarks import curves, parity
from mnist_cnn.data import datasets
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.model.nets import ConvNet

PADDINGS = ["valid", "same"]


@pytest.mark.parametrize("padding", PADDINGS)
def test_logits_and_digits_are_keras_own(padding: str, sample: Dataset) -> None:
    pair = parity.twins(padding, train_on=sample.train)
    said = parity.logits(pair, sample.test.images)
    assert said.difference <= 1e-4
    assert said.same_digits == 1000
    assert (said.ours.argmax(1) == sample.test.labels.numpy()).mean() > 0.8  # it has learnt


@pytest.mark.parametrize("padding", PADDINGS)
def test_probabilities_are_keras_own(padding: str, sample: Dataset) -> None:
    pair = parity.twins(padding)
    theirs = pair.keras.predict(parity.pixels(sample.test.images), verbose=0)
    np.testing.assert_allclose(pair.ours.predict(sample.test.images).probabilities, theirs, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("padding", PADDINGS)
def test_all_ten_thousand_digits_are_keras_own(padding: str, mnist_dir: Path) -> None:
    mnist = datasets.read("mnist", mnist_dir)
    first = datasets.Images(mnist.train.images[:10_000], mnist.train.labels[:10_000])
    said = parity.logits(parity.twins(padding, train_on=first), mnist.test.images)
    assert said.difference <= 1e-4
    assert said.same_digits == 10_000
    assert (said.ours.argmax(1) == mnist.test.labels.numpy()).mean() > 0.8


@pytest.mark.parametrize("padding", PADDINGS)
def test_gradients_of_a_batch_are_keras_own(padding: str, sample: Dataset) -> None:
    found = parity.gradients(parity.twins(padding), next(parity.batches(sample.train)))
    assert len(found) == 8
    for largest, difference in found.values():
        assert difference <= 1e-5 * largest


@pytest.mark.parametrize(
    ("optimizer", "padding"), [*((name, "valid") for name in parity.KERAS_OPTIMIZERS), ("rmsprop", "same")]
)
def test_twenty_steps_are_keras_own(optimizer: str, padding: str, sample: Dataset) -> None:
    """In float64: in float32 a rounding that moves one maximum or ReLU moves all that follows (benchmarks.parity)."""
    done = parity.steps(optimizer, sample.train, padding)
    assert len(done.ours) == 20
    assert done.losses <= 1e-8
    assert done.weights <= 1e-8


def test_the_notebooks_first_steps_are_keras_own_in_float32_too(sample: Dataset) -> None:
    done = parity.steps("rmsprop", sample.train, dtype="float32")
    np.testing.assert_allclose(done.ours[:5], done.keras[:5], rtol=1e-5)


def test_initial_weights_have_keras_distribution() -> None:
    draws = 20
    torch.manual_seed(0)
    parity.keras.utils.set_random_seed(0)
    models, nets = [parity.build_model() for _ in range(draws)], [ConvNet() for _ in range(draws)]
    for number, name in enumerate(["conv1", "conv2", "conv3", "dense"]):
        theirs = np.concatenate([model.get_weights()[2 * number].ravel() for model in models])
        ours = torch.cat([net.get_submodule(name).weight.detach().flatten() for net in nets]).numpy()
        assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=0.01)
        assert ours.var() == pytest.approx(theirs.var(), rel=0.03)
        assert ks_2samp(ours, theirs).pvalue > 0.001
        assert not any(net.get_submodule(name).bias.any() for net in nets)
        assert not any(model.get_weights()[2 * number + 1].any() for model in models)


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs 15 minutes and mnist_cnn[bench]")
def test_whole_trainings_are_distributed_as_tensorflow_keras_own(mnist_dir: Path) -> None:
    """5 seeds of 5 epochs each; Welch's t-test of 12 figures, so that p < 0.05 / 12 is one error in 20 such tests."""
    rows = curves.measure(mnist_dir, seeds=5, fits=1)
    table = curves.compare(rows)
    assert len(table) == 12
    for figure, row in table.items():
        assert row["p"] > 0.05 / 12, figure
    keras, ours = (np.median([row["epoch 5 test/acc"] for row in rows[name]]) for name in ("keras", "ours"))
    assert abs(keras - ours) < 0.002  # not the means: now and then a last step of RMSprop goes astray
