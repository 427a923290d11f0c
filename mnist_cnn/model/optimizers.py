"""Keras's RMSprop and Adam, and the functions that build optimizers and schedulers from the settings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mnist_cnn.errors import InputError


class _KerasOptimizer(Optimizer):
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


class KerasRMSprop(_KerasOptimizer):
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


class KerasAdam(_KerasOptimizer):
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
        (beta1, beta2), lr = group["betas"], group["lr"]
        group["steps"] += 1
        momenta, velocities = self._state("momentum", weights), self._state("velocity", weights)
        torch._foreach_lerp_(momenta, gradients, 1 - beta1)
        torch._foreach_mul_(velocities, beta2)
        torch._foreach_addcmul_(velocities, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(velocities)
        torch._foreach_add_(roots, group["epsilon"])
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
        correction = (1 - beta2 ** group["steps"]) ** 0.5 / (1 - beta1 ** group["steps"])
        torch._foreach_addcdiv_(weights, momenta, roots, -lr * correction)


def build_optimizer(options: Mapping[str, Any], parameters: Iterable[Tensor]) -> Optimizer:
    """Build the optimizer that `_target_` names, with the other options.

    Raises InputError if there is no such class, or if it rejects an option.
    """
    built: Optimizer = _build("optimizer", options, [*parameters])
    return built


def build_scheduler(
    options: Mapping[str, Any], optimizer: Optimizer, steps: int, epochs: int = 1
) -> dict[str, Any] | None:
    """Build the scheduler that `_target_` names, as Lightning's dictionary; None if there is no `_target_`.

    `interval` is step (the default) or epoch: when the scheduler advances. An option that is null becomes the number of
    advances in the whole run: `steps` or `epochs`.
    Raises InputError if there is no such class, or if it rejects an option.
    """
    if "_target_" not in options:
        return None
    interval = options.get("interval", "step")
    advances = {"step": steps, "epoch": epochs}[interval]
    filled = {key: advances if value is None else value for key, value in options.items() if key != "interval"}
    built = _build("scheduler", filled, optimizer)
    if isinstance(built, ReduceLROnPlateau) and interval == "step":
        raise InputError("ReduceLROnPlateau monitors the loss of whole epochs: give scheduler.interval=epoch")
    return {"scheduler": built, "interval": interval}


def rehearse(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], steps: int, epochs: int = 1) -> None:
    """Build both for a single weight and advance as in the run, up to 100,000 times, to find errors before training.

    Raises InputError if they cannot be built, or fail at a step.
    """
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    try:
        with torch.random.fork_rng(devices=[]):
            built = build_optimizer(optimizer, [weight])
            config = build_scheduler(scheduler, built, steps, epochs)
            built.step()
            if config and not isinstance(config["scheduler"], ReduceLROnPlateau):  # which needs a metric
                for _ in range(min(steps if config["interval"] == "step" else epochs, 100_000)):
                    config["scheduler"].step()
    except InputError:
        raise
    except Exception as error:
        named = " with ".join(str(each["_target_"]) for each in (optimizer, scheduler) if "_target_" in each)
        raise InputError(f"{named} failed: {error}") from error


def _build(group: str, options: Mapping[str, Any], argument: object) -> Any:
    try:
        return instantiate(dict(options), argument, _convert_="all")
    except Exception as error:
        raise InputError(f"{group}={options.get('_target_')} could not be built: {error.__cause__ or error}") from error
