"""Keras's RMSprop and Adam, which torch.optim lacks, and optimizers and schedulers built from a configuration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mnist_cnn.errors import InputError


class _KerasOptimizer(Optimizer):
    """What Keras's optimizers share: a step over all parameters of a group at once, and state that starts at 0."""

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

    v = rho v + (1 - rho) g²;  w -= lr g / sqrt(v + epsilon), v starting at 0. torch.optim.RMSprop adds epsilon
    outside the root and starts from other defaults: the two do not train alike.
    `centered` subtracts the squared mean gradient from v; `momentum` sums the steps with that decay.
    Raises InputError for values out of range.
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
        _check("lr", lr, lr >= 0, "≥ 0")
        _check("rho", rho, 0 <= rho < 1, "in [0, 1)")
        _check("momentum", momentum, 0 <= momentum <= 1, "in [0, 1]")
        _check("epsilon", epsilon, epsilon > 0, "> 0")
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

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²;  m and v starting at 0;
    w -= lr weight_decay w;  w -= lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon) at step t: the
    "epsilon hat" of Kingma and Ba (2015), section 2. torch adds epsilon after it has corrected v: at the first step
    Keras's weighs 32 times as much.
    Raises InputError for values out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
    ) -> None:
        _check("lr", lr, lr >= 0, "≥ 0")
        _check("betas", betas, len(betas) == 2 and all(0 <= beta < 1 for beta in betas), "in [0, 1), twice")
        _check("epsilon", epsilon, epsilon > 0, "> 0")
        _check("weight_decay", weight_decay, weight_decay >= 0, "≥ 0")
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


def _check(name: str, value: object, allowed: bool, bounds: str) -> None:
    if not allowed:
        raise InputError(f"optimizer.{name}={value} cannot be used: give a number {bounds}")


def check_steps(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], parameters: Iterable[Tensor]) -> None:
    """Build both and take a step: some values are refused only then. Changes the parameters.

    Raises InputError for what cannot be used.
    """
    weights = list(parameters)
    built = build_optimizer(optimizer, weights)
    schedule = build_scheduler(scheduler, built, steps=100)
    for each in weights:
        each.grad = torch.zeros_like(each)
    for group, options, step in (("optimizer", optimizer, built), ("scheduler", scheduler, schedule)):
        try:
            if step is not None:
                step.step()
        except Exception as error:
            raise InputError(f"{group}={options.get('_target_')} cannot be used here: {error}") from error


T = TypeVar("T")


def build_optimizer(options: Mapping[str, Any], parameters: Iterable[Tensor]) -> Optimizer:
    """Build the optimizer that `_target_` names, with the other options.

    Raises InputError if there is no such class, or if it refuses an option or its value.
    """
    return _build("optimizer", Optimizer, options, parameters)


def build_scheduler(options: Mapping[str, Any], optimizer: Optimizer, steps: int) -> LRScheduler | None:
    """Build the learning-rate scheduler that `_target_` names; None if none is named.

    An option that is null stands for the number of `steps` of the whole run.
    Raises InputError if there is no such class, or if it refuses an option or its value.
    """
    if "_target_" not in options:
        return None
    filled = {key: steps if value is None else value for key, value in options.items()}
    return _build("scheduler", LRScheduler, filled, optimizer)


def _build(group: str, kind: Callable[..., T], options: Mapping[str, Any], argument: object) -> T:
    arguments = dict(options)
    target = str(arguments.pop("_target_", None))
    module, _, name = target.rpartition(".")
    try:
        named: Any = getattr(import_module(module), name)
        is_one = isinstance(named, type) and issubclass(named, cast(type, kind))
        if not is_one:
            raise TypeError(f"it is no {cast(type, kind).__name__}")  # noqa: TRY301 - told as any other reason
        return cast(T, named(argument, **arguments))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{group}={target} with {arguments} cannot be used: {error}") from error
