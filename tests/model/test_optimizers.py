import copy
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from mnist_cnn.model.optimizers import KerasAdam, KerasRMSprop, Muon, orthogonalize

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


def test_torchs_rmsprop_gives_other_weights_than_keras_rmsprop() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    train(KerasRMSprop([ours]), ours, gradients())
    train(torch.optim.RMSprop([theirs], lr=1e-3, alpha=0.9, eps=1e-7), theirs, gradients())
    assert (ours - theirs).abs().max() > 1e-4


@pytest.mark.parametrize("weight_decay", [0.0, 0.004])
def test_keras_adam_follows_the_formula(weight_decay: float) -> None:
    """Keras's documented update; the smallest gradients are of epsilon's size, where torch's Adam differs."""
    weight = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    steps = [1e-3 * gradient for gradient in gradients()]
    train(KerasAdam([weight], weight_decay=weight_decay), weight, steps)
    expected, m, v = np.ones(5), np.zeros(5), np.zeros(5)
    for t, g in enumerate(steps, start=1):
        expected -= 1e-3 * weight_decay * expected
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 1e-3 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (v**0.5 + 1e-7)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_torchs_adam_gives_other_weights_than_keras_adam() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    steps = [1e-3 * gradient for gradient in gradients()]
    train(KerasAdam([ours]), ours, steps)
    train(torch.optim.Adam([theirs], lr=1e-3, eps=1e-7), theirs, steps)
    assert (ours - theirs).abs().max() > 1e-4


def jordans_polynomial(values: np.ndarray, iterations: int) -> np.ndarray:
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


@pytest.mark.parametrize(("iterations", "least"), [(3, 0.02), (5, 0.002)])
@pytest.mark.parametrize("shape", [(64, 288), (128, 576), (7, 7), (9, 4), (1, 9)])
def test_orthogonalize_is_near_u_v_of_the_svd(shape: tuple[int, int], iterations: int, least: float) -> None:
    """Its singular vectors are the matrix's own; of singular values that are not too small it makes 0.68 to 1.21."""
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=shape), full_matrices=False)
    values = np.logspace(0, -4, min(shape))
    found = orthogonalize(torch.tensor(left * values @ right), iterations).numpy()
    inner = left.T @ found @ right.T
    relative = values / np.linalg.norm(values)
    np.testing.assert_allclose(inner, np.diag(jordans_polynomial(relative, iterations)), atol=1e-6)
    kept = inner.diagonal()[relative >= least]
    assert len(kept) > 0
    assert 0.68 < kept.min() <= kept.max() < 1.21


def test_orthogonalize_does_not_depend_on_the_scale_and_maps_zeros_to_zeros() -> None:
    matrix = torch.randn(5, 9)
    torch.testing.assert_close(orthogonalize(1e-15 * matrix, 5), orthogonalize(matrix, 5))
    assert orthogonalize(torch.zeros(5, 9), 5).count_nonzero() == 0


@pytest.mark.parametrize(("shape", "rank"), [((128, 576), 9), ((64, 288), 4)])
def test_orthogonalize_is_stable_in_float32(shape: tuple[int, int], rank: int) -> None:
    """Rounding makes eigenvalues of x xᵀ negative, and each iteration makes those larger."""
    torch.manual_seed(0)
    matrix = torch.randn(shape[0], rank) @ torch.randn(rank, shape[1])
    expected = orthogonalize(matrix.double(), 6)
    assert (orthogonalize(matrix, 6) - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_muon_takes_half_precision_and_gradients_of_zero(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(8, 36, dtype=dtype)
    expected = orthogonalize(matrix.float(), 5)
    torch.testing.assert_close(orthogonalize(matrix, 5).float(), expected, rtol=0, atol=0.01)
    kernels = [torch.nn.Parameter(values.view(8, 4, 3, 3)) for values in (matrix, torch.zeros_like(matrix))]
    for kernel in kernels:
        kernel.grad = torch.zeros_like(kernel)
    Muon(kernels).step()
    torch.testing.assert_close(kernels[0].detach().flatten(1), matrix, rtol=0.01, atol=0.01)
    assert kernels[1].count_nonzero() == 0


def test_each_group_has_options_of_its_own() -> None:
    options: list[dict[str, Any]] = [{"lr": 0.1, "momentum": 0.9, "iterations": 5, "adam_share": 0.5}, {}]
    torch.manual_seed(0)
    shapes = [(4, 2, 3, 3), (5,)]
    starts = [[torch.randn(shape) for shape in shapes] for _ in options]
    together, apart = ([[torch.nn.Parameter(each.clone()) for each in group] for group in starts] for _ in range(2))
    alone = [Muon(group, **each) for group, each in zip(apart, options, strict=True)]
    both = Muon([{"params": group, **each} for group, each in zip(together, options, strict=True)])
    for _ in range(3):
        for weight, other in zip(chain(*together), chain(*apart), strict=True):
            weight.grad = torch.randn_like(weight)
            other.grad = weight.grad.clone()
        for optimizer in (both, *alone):
            optimizer.step()
    for weight, other in zip(chain(*together), chain(*apart), strict=True):
        assert torch.equal(weight, other)


def test_muon_steps_each_group_at_its_rate_and_leaves_what_has_no_gradient() -> None:
    kernels = [torch.nn.Parameter(torch.ones(2, 2, 3, 3)) for _ in range(3)]
    optimizer = Muon([{"params": kernels[:1], "lr": 0.1}, {"params": kernels[1:]}], lr=0.2)
    for kernel in kernels[:2]:
        kernel.grad = torch.arange(36.0).view_as(kernel)
    optimizer.step()
    first, second, third = ((kernel.detach() - 1).norm() for kernel in kernels)
    assert second == pytest.approx(2 * float(first), rel=1e-4)
    assert third == 0 < first


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (40, 2, 3, 3)], ids=["wide", "tall"])
def test_muon_follows_the_formula(shape: tuple[int, ...]) -> None:
    """Kernels take orthogonal steps, here by an SVD, and keep their norm; the rest takes Adam's."""
    draw = np.random.default_rng(0)
    sizes = {"first": (4, 1, 3, 3), "kernel": shape, "bias": (6,), "dense": (3, 5)}
    weights = {name: torch.nn.Parameter(torch.tensor(draw.normal(size=size))) for name, size in sizes.items()}
    start, expected = ({name: weight.detach().numpy().copy() for name, weight in weights.items()} for _ in range(2))
    adams = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items() if name != "kernel"}
    muon, adam = Muon(weights.values(), lr=0.1, adam_share=0.2), KerasAdam(adams.values(), lr=0.02, betas=(0.9, 0.99))
    momentum, norm = np.zeros(shape), np.linalg.norm(start["kernel"])
    for _ in range(STEPS):
        for name, weight in weights.items():
            weight.grad = torch.tensor(draw.normal(size=sizes[name]))
            if name in adams:
                adams[name].grad = weight.grad
        gradient = weights["kernel"].grad.numpy()
        momentum = 0.6 * momentum + gradient
        left, values, right = np.linalg.svd((gradient + 0.6 * momentum).reshape(shape[0], -1), full_matrices=False)
        direction = (left * jordans_polynomial(values / np.linalg.norm(values), 3) @ right).reshape(shape)
        kernel = expected["kernel"] / np.linalg.norm(expected["kernel"]) - 0.1 * direction / shape[0] ** 0.5
        expected["kernel"] = norm * kernel
        muon.step()
        adam.step()
    np.testing.assert_allclose(weights["kernel"].detach().numpy(), expected["kernel"], rtol=1e-6)
    for name, weight in adams.items():
        torch.testing.assert_close(weights[name], weight)


def test_muons_steps_neither_shrink_nor_grow_a_kernel() -> None:
    kernel = torch.nn.Parameter(1e-3 * torch.randn(8, 4, 3, 3))
    norm, optimizer = kernel.norm().item(), Muon([kernel], lr=0.1)
    for _ in range(200):
        kernel.grad = torch.randn_like(kernel)
        optimizer.step()
    assert kernel.norm().item() == pytest.approx(norm, rel=0.1)  # which each step begins with


def test_muons_momentum_of_a_silent_filter_ends_at_zero() -> None:
    """Otherwise it stays subnormal for ever, and the products of a step take 15 times as long."""
    kernel = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
    optimizer = Muon([kernel])
    for step in range(200):
        kernel.grad = 1e-9 * torch.randn_like(kernel)
        kernel.grad[:, 0] *= step == 0
        optimizer.step()
    momentum = optimizer.state[kernel]["momentum"]
    assert (momentum[:, 0] == 0).all()
    assert (momentum[:, 1:] != 0).all()


def test_muon_stops_at_a_learning_rate_of_zero_and_leaves_a_kernel_of_zeros() -> None:
    kernels = [torch.nn.Parameter(torch.ones(2, 2, 3, 3)), torch.nn.Parameter(torch.zeros(2, 2, 3, 3))]
    for kernel, lr in zip(kernels, (0.0, 0.1), strict=True):
        kernel.grad = torch.ones_like(kernel)
        before = kernel.detach().clone()
        Muon([kernel], lr=lr).step()
        torch.testing.assert_close(kernel.detach(), before)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(KerasRMSprop, {}), (KerasRMSprop, {"momentum": 0.9, "centered": True}), (KerasAdam, {"weight_decay": 0.004})],
)
def test_state_dict_resumes_exactly(optimizer: type[torch.optim.Optimizer], options: dict[str, object]) -> None:
    uncut, cut = (torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    train(optimizer([uncut], **options), uncut, gradients())
    first = optimizer([cut], **options)
    train(first, cut, gradients()[:7])
    second = optimizer([cut], lr=5.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, cut, gradients()[7:])
    assert torch.equal(uncut, cut)


@pytest.mark.parametrize(
    ("optimizer", "option"),
    [
        *(
            (KerasRMSprop, {name: value})
            for name, value in (("lr", -1), ("rho", 1), ("momentum", -0.1), ("epsilon", 0))
        ),
        *((KerasAdam, {name: value}) for name, value in (("lr", float("nan")), ("weight_decay", -1), ("epsilon", 0))),
        (KerasAdam, {"betas": [0.9, 1.0]}),
        *(
            (Muon, {name: value})
            for name, value in (("lr", -1), ("momentum", 1), ("iterations", 0), ("iterations", 7), ("adam_share", -1))
        ),
        *((Muon, {name: value}) for name, value in (("betas", [1.0, 0.9]), ("epsilon", 0))),
    ],
)
def test_values_out_of_range_are_refused(optimizer: type[torch.optim.Optimizer], option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="invalid value"):
        optimizer([torch.nn.Parameter(torch.ones(1))], **option)


def test_a_group_of_parameters_may_have_settings_of_its_own() -> None:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = KerasAdam([{"params": [weights[0]], "epsilon": 1.0}])
    optimizer.add_param_group({"params": [weights[1]]})
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer.step()
    assert 1 - weights[1].item() > 10 * (1 - weights[0].item()) > 0
