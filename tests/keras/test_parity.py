"""The twin compared with the real Keras: logits, gradients, optimizer steps, and the distribution of initial weights.

In float64: in float32 a rounding that moves one maximum or one ReLU changes all that follows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from omegaconf import OmegaConf
from scipy.stats import ks_2samp
from torch import Tensor, nn

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.model.nets import ConvNet
from mnist_cnn.training.optimization import build_optimizer
from tests.keras.models import build, random_weights

CONF = Path(__file__).parents[2] / "conf" / "optimizer"
CHANNELS = (5, 7, 11)
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
}


@pytest.fixture(autouse=True)
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")  # else Keras's Dense rounds to float32
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def as_ours(net: nn.Module, values: list[Tensor]) -> dict[str, Tensor]:
    """Name what belongs to Keras's parameters as ours, in our order, without the code under test."""
    named: dict[str, Tensor] = {}
    for (name, weight), value in zip(net.named_parameters(), values, strict=True):
        ours = torch.einsum("hwio->oihw", value) if value.ndim == 4 else value
        if value.ndim == 2:  # (height, width, channels), units
            side = round((len(value) / CHANNELS[-1]) ** 0.5)
            ours = torch.einsum("hwcu->uchw", value.reshape(side, side, CHANNELS[-1], -1)).flatten(1)
        assert ours.shape == weight.shape
        named[name] = ours.detach().clone()
    return named


def values(model: keras.Model) -> list[Tensor]:
    return [variable.value for variable in model.trainable_variables]


def twins(padding: str) -> tuple[keras.Model, ConvNet]:
    """The notebook's network with fewer filters, without softmax, and ours with its weights."""
    model = random_weights(build(padding=padding, head=None))
    net = ConvNet(padding=padding, channels=CHANNELS).double()
    net.load_state_dict(as_ours(net, values(model)))
    return model, net


def losses(model: keras.Model, net: ConvNet, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Keras's loss and ours for images (n, 1, 28, 28), with gradients."""
    model.zero_grad()
    net.zero_grad()
    logits = model(images.permute(0, 2, 3, 1), training=True)
    theirs = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True).mean()
    ours = F.cross_entropy(net(images), labels)
    theirs.backward()
    ours.backward()
    return theirs, ours


@pytest.fixture
def batches(sample: Dataset) -> list[tuple[Tensor, Tensor]]:
    images, labels = sample.train.images[:160].double() / 255, sample.train.labels[:160]
    return list(zip(images.split(32), labels.split(32), strict=True))


def close(given: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(given[name], value, rtol=0, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_logits_and_gradients_are_those_of_keras(padding: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    model, net = twins(padding)
    images, labels = batches[0]
    logits = model(images.permute(0, 2, 3, 1))
    assert logits.std() > 0.05
    torch.testing.assert_close(net(images), logits, rtol=0, atol=1e-12)
    losses(model, net, images, labels)
    gradients = {name: weight.grad for name, weight in net.named_parameters()}
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients.values())
    close(gradients, as_ours(net, [value.grad for value in values(model)]), 1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_five_steps_are_those_of_keras(optimizer: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    model, net = twins("valid")
    before = as_ours(net, values(model))
    options: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{optimizer}.yaml"))
    theirs, ours = OPTIMIZERS[optimizer](), build_optimizer(options, net.parameters())
    for images, labels in batches:
        losses(model, net, images, labels)
        with torch.no_grad():
            theirs.apply([value.grad for value in values(model)], model.trainable_variables)
        ours.step()
    after = as_ours(net, values(model))
    assert all((after[name] - before[name]).abs().max() > 1e-4 for name in after)
    close(dict(net.named_parameters()), after, 1e-9 if optimizer == "nadam" else 1e-12)


def test_initial_weights_have_the_distribution_of_keras() -> None:
    draws = 20
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    models, nets = [build() for _ in range(draws)], [ConvNet(channels=CHANNELS) for _ in range(draws)]
    for number, name in enumerate(["conv1", "conv2", "conv3", "dense"]):
        theirs = np.concatenate([model.get_weights()[2 * number].ravel() for model in models])
        ours = torch.cat([net.get_submodule(name).weight.detach().flatten() for net in nets]).numpy()
        assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=0.02)
        assert ks_2samp(ours, theirs).pvalue > 0.001
        assert not any(net.get_submodule(name).bias.any() for net in nets)
        assert not any(model.get_weights()[2 * number + 1].any() for model in models)
