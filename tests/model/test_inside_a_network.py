"""Hooks, replaced layers, function transforms, export and other precisions work on a network in training."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_cnn import DigitClassifier
from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected
from tests.recipes import BATCH, IMAGES, NET


def step(classifier: DigitClassifier) -> None:
    classifier.train().training_step(BATCH, 0).backward()


def test_a_hook_sees_an_ordinary_tensor_in_training() -> None:
    classifier, means = DigitClassifier(), list[float]()
    classifier.net.relu1.register_forward_hook(lambda layer, inputs, output: means.append(output.mean().item()))  # type: ignore[union-attr, func-returns-value]
    step(classifier)
    assert means[0] > 0


@pytest.mark.parametrize(
    "layer", [nn.LeakyReLU(), nn.SiLU(), nn.Sequential(nn.ReLU(), nn.Dropout(0.25)), nn.GroupNorm(4, 32)]
)
def test_a_layer_can_be_replaced(layer: nn.Module) -> None:
    classifier = DigitClassifier()
    classifier.net.relu1 = layer
    step(classifier)


def test_gradients_per_image_by_vmap_are_those_of_each_image() -> None:
    classifier = DigitClassifier(NET)
    weights = {name: part.detach() for name, part in classifier.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(classifier, weights, (image[None],)), label[None])

    gradient = torch.func.grad(loss)
    several = torch.func.vmap(gradient, (None, 0, 0))(weights, IMAGES / 255, BATCH[1])
    first = gradient(weights, IMAGES[0] / 255, BATCH[1][0])
    for name in weights:
        torch.testing.assert_close(several[name][0], first[name])


def test_a_gradient_of_a_gradient_exists() -> None:
    classifier = DigitClassifier(NET)
    weights = list(classifier.net.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(classifier(IMAGES), BATCH[1]), weights, create_graph=True)
    sum((each**2).sum() for each in gradients).backward()  # type: ignore[union-attr]
    assert all(part.grad is not None for part in classifier.net.parameters())


@pytest.mark.filterwarnings("ignore")  # of torch's tracer
def test_it_can_be_exported_while_it_is_in_train_mode() -> None:
    torch.export.export(DigitClassifier(NET), (torch.rand(2, 1, 28, 28),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_have_the_precision_of_the_weights(dtype: torch.dtype) -> None:
    assert DigitClassifier(NET).to(dtype)(IMAGES).dtype == dtype
    assert nn.ModuleDict({"c": DigitClassifier(NET)}).to(dtype)["c"](IMAGES.to(dtype) / 255).dtype == dtype
    alone = DigitClassifier(NET)
    alone.net.to(dtype)
    assert alone(IMAGES).dtype == dtype
