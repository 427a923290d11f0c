"""Keras's RMSprop and Adam, and Muon."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer


class _GroupOptimizer(Optimizer):
    """Common parts: a step for all parameters of a group at once, and state that starts at 0."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(weights, [cast(Tensor, weight.grad) for weight in weights], group)
        return loss

    def _step_group(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _state(self, name: str, weights: list[Tensor]) -> list[Tensor]:
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]

    def _adam(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any], lr: float) -> None:
        """Take the step of Keras's Adam, which the docstring of KerasAdam describes."""
        beta1, beta2 = group["betas"]
        group["steps"] += 1
        momenta, velocities = self._state("momentum", weights), self._state("velocity", weights)
        torch._foreach_lerp_(momenta, gradients, 1 - beta1)
        torch._foreach_mul_(velocities, beta2)
        torch._foreach_addcmul_(velocities, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(velocities)
        torch._foreach_add_(roots, group["epsilon"])
        correction = (1 - beta2 ** group["steps"]) ** 0.5 / (1 - beta1 ** group["steps"])
        torch._foreach_addcdiv_(weights, momenta, roots, -lr * correction)


class KerasRMSprop(_GroupOptimizer):
    """RMSprop as Keras 3 computes it (keras/src/optimizers/rmsprop.py), with Keras's defaults.

    v = rho v + (1 - rho) g²;  w -= lr g / sqrt(v + epsilon), with v = 0 at the start. torch.optim.RMSprop adds epsilon
    outside the root and has other defaults, so its results differ.
    `centered` subtracts the squared mean gradient from v; `momentum` accumulates the steps with that decay.
    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
    ) -> None:
        if not (lr >= 0 and 0 <= rho < 1 and 0 <= momentum <= 1 and epsilon > 0):
            raise ValueError(f"invalid value: {lr=}, {rho=}, {momentum=}, {epsilon=}")
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered})

    def _step_group(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        rho = group["rho"]
        velocities = self._state("velocity", weights)
        torch._foreach_mul_(velocities, rho)
        torch._foreach_addcmul_(velocities, gradients, gradients, 1 - rho)
        if group["centered"]:
            averages = self._state("average_gradient", weights)
            torch._foreach_lerp_(averages, gradients, 1 - rho)
            roots = torch._foreach_sub(velocities, torch._foreach_mul(averages, averages))
            torch._foreach_add_(roots, group["epsilon"])
        else:
            roots = torch._foreach_add(velocities, group["epsilon"])
        torch._foreach_sqrt_(roots)
        if group["momentum"] > 0:
            momenta = self._state("momentum", weights)
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_addcdiv_(momenta, gradients, roots, group["lr"])
            torch._foreach_sub_(weights, momenta)
        else:
            torch._foreach_addcdiv_(weights, gradients, roots, -group["lr"])


class KerasAdam(_GroupOptimizer):
    """Adam as Keras 3 computes it (keras/src/optimizers/adam.py), with Keras's defaults; AdamW with `weight_decay`.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²;  with m = v = 0 at the start;
    w -= lr weight_decay w;  w -= lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon) at step t: the
    "epsilon hat" of Kingma and Ba (2015), section 2. torch adds epsilon after the correction of v, so that Keras's
    epsilon has 32 times the effect at the first step.
    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        if not (lr >= 0 and all(0 <= beta < 1 for beta in betas) and epsilon > 0 and weight_decay >= 0):
            raise ValueError(f"invalid value: {lr=}, {betas=}, {epsilon=}, {weight_decay=}")
        defaults = {"lr": lr, "betas": tuple(betas), "epsilon": epsilon, "weight_decay": weight_decay, "steps": 0}
        super().__init__(params, defaults)

    def _step_group(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        lr = group["lr"]
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
        self._adam(weights, gradients, group, lr)


class Muon(_GroupOptimizer):
    """Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) for convolutions, Adam for all other weights.

    The kernel of a 2-D convolution with more than one input channel is a matrix here, a row per filter. With
    momentum m = mu m + g, m = 0 at the start, and the kernel's norm n, measured before the first step, a step is
    w = n (w / |w| - lr orthogonalize(g + mu m) / sqrt(filters)):
    all directions of the kernel learn about equally fast, a step moves it by at most about `lr` of its norm (0.6 `lr`
    in experiment=fast), and each begins with norm n. (The norm is not in Jordan's text; his airbench has it, with the
    root of the filters for n.)
    All other weights take the steps of KerasAdam, with `adam_share` times `lr`: in the notebook's network the first
    convolution, the dense layer and the biases.
    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.05,
        momentum: float = 0.6,
        iterations: int = 3,
        adam_share: float = 0.2,
        betas: Sequence[float] = (0.9, 0.99),
        epsilon: float = 1e-7,
    ) -> None:
        if not (lr >= 0 and 0 <= momentum < 1 and iterations in range(1, 7) and adam_share >= 0):
            raise ValueError(f"invalid value: {lr=}, {momentum=}, {iterations=}, {adam_share=}")
        if not (all(0 <= beta < 1 for beta in betas) and epsilon > 0):
            raise ValueError(f"invalid value: {betas=}, {epsilon=}")
        defaults = {"lr": lr, "momentum": momentum, "iterations": iterations, "adam_share": adam_share}
        super().__init__(params, defaults | {"betas": tuple(betas), "epsilon": epsilon, "steps": 0})

    def _step_group(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        others = []
        for weight, gradient in zip(weights, gradients, strict=True):
            if weight.ndim == 4 and weight.shape[1] > 1:
                self._muon(weight, gradient, group)
            else:
                others.append((weight, gradient))
        if others:
            rest, slopes = map(list, zip(*others, strict=True))
            self._adam(rest, slopes, group, group["adam_share"] * group["lr"])

    def _muon(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"], state["norm"] = torch.zeros_like(weight), weight.norm()
        # a silent filter has gradients of 0, whose sum would decay to subnormal numbers: products with them are slow
        momentum = torch.hardshrink(group["momentum"] * state["momentum"] + gradient, 1e-30)
        state["momentum"] = momentum
        ahead = gradient.add(momentum, alpha=group["momentum"])
        direction = orthogonalize(ahead.flatten(1), group["iterations"]).view_as(weight)
        unit = weight / weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)
        weight.copy_(state["norm"] * unit.sub_(direction, alpha=group["lr"] / len(weight) ** 0.5))


def orthogonalize(matrix: Float[Tensor, "rows columns"], iterations: int) -> Float[Tensor, "rows columns"]:
    """Return nearly U Vᵀ of a matrix U S Vᵀ: Jordan's Newton-Schulz iteration, x <- a x + b (x xᵀ) x + c (x xᵀ)² x.

    After 5 iterations its singular values are 0.68 to 1.21, where those of the matrix were at least 0.002 of its norm;
    after 3, at least 0.02. Smaller ones stay smaller. Computed in float32, or in float64 if the matrix is. For 1 to 6
    iterations: rounding errors in x xᵀ grow twelvefold with each.
    """
    x = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    x = x / x.norm().clamp_min(1e-20)
    wide = x if x.shape[0] <= x.shape[1] else x.mT
    gram = wide @ wide.mT  # smaller than x; all that is multiplied below is a polynomial of it, and commutes
    product = factor = _quintic(gram)
    for _ in range(iterations - 1):
        gram = factor @ gram @ factor
        factor = _quintic(gram)
        product = factor @ product
    result: Tensor = (product @ wide).to(matrix.dtype)
    return result if wide is x else result.mT


def _quintic(gram: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows rows"]:
    """Return a + b x xᵀ + c (x xᵀ)² of x xᵀ, with Jordan's coefficients."""
    a, b, c = 3.4445, -4.7750, 2.0315
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor
