"""Optimizers and schedulers, built from the settings."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mnist_cnn.errors import InputError


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
    """Build both for a vector and a kernel, and advance as in the run, up to 100,000 times, to find errors beforehand.

    Raises InputError if they cannot be built, or fail at a step.
    """
    weights = [nn.Parameter(torch.zeros(shape)) for shape in ((1,), (2, 2, 3, 3))]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    try:
        with torch.random.fork_rng(devices=[]):
            built = build_optimizer(optimizer, weights)
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
