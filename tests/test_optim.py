import copy

import numpy as np
import pytest
import torch

from mnist_cnn.errors import InputError
from mnist_cnn.optim import KerasRMSprop, build_optimizer, build_scheduler

STEPS = 20


def gradients() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(STEPS, 5)) * np.logspace(-4, 1, 5))


def train(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: list[np.ndarray]) -> None:
    for gradient in steps:
        weight.grad = torch.tensor(gradient)
        optimizer.step()


def weights_from_the_formula(lr: float, rho: float, momentum: float, epsilon: float, centered: bool) -> np.ndarray:
    """Keras's documented update, a coordinate and a step at a time."""
    result = np.ones(5)
    for i in range(5):
        v = mean = m = 0.0
        for gradient in gradients():
            g = gradient[i]
            v = rho * v + (1 - rho) * g * g
            mean = rho * mean + (1 - rho) * g
            step = lr * g / (v - (mean * mean if centered else 0) + epsilon) ** 0.5
            m = momentum * m + step
            result[i] -= m
    return result


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
def test_keras_rmsprop_follows_the_formula(momentum: float, centered: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    train(KerasRMSprop([weight], momentum=momentum, centered=centered), weight, gradients())
    expected = weights_from_the_formula(1e-3, 0.9, momentum, 1e-7, centered)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_torchs_rmsprop_is_another_one() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    train(KerasRMSprop([ours]), ours, gradients())
    train(torch.optim.RMSprop([theirs], lr=1e-3, alpha=0.9, eps=1e-7), theirs, gradients())
    assert (ours - theirs).abs().max() > 1e-4


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "centered": True}])
def test_state_dict_resumes_exactly(options: dict[str, object]) -> None:
    uncut, cut = (torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    train(KerasRMSprop([uncut], **options), uncut, gradients())
    first = KerasRMSprop([cut], **options)
    train(first, cut, gradients()[:7])
    second = KerasRMSprop([cut], lr=5.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, cut, gradients()[7:])
    assert torch.equal(uncut, cut)


@pytest.mark.parametrize("option", [{"lr": -1}, {"lr": float("nan")}, {"rho": 1}, {"momentum": -0.1}, {"epsilon": 0}])
def test_values_out_of_range_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        KerasRMSprop([torch.nn.Parameter(torch.ones(1))], **option)


@pytest.mark.parametrize(
    "options",
    [
        {"_target_": "torch.optim.Adam", "lr": -1},
        {"_target_": "torch.optim.Adam", "learning_rate": 1},
        {"_target_": "torch.optim.Adamm"},
        {"_target_": "no.such.module.Adam"},
        {"_target_": "Adam"},
    ],
)
def test_an_optimizer_that_cannot_be_built_is_said(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="optimizer="):
        build_optimizer(options, [torch.nn.Parameter(torch.ones(1))])


def test_null_in_a_scheduler_stands_for_all_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    options = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": None, "eta_min": 0.1}
    scheduler = build_scheduler(options, optimizer, steps=8)
    rates = []
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert rates[3] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1)


def test_no_scheduler_is_none() -> None:
    assert build_scheduler({}, torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), steps=8) is None
