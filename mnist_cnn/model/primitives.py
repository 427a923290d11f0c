"""Hyper-parameters and results as Python's own values, which checkpoints and JSON can store."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from torch import Tensor

from mnist_cnn.errors import InputError, abbreviate


def to_primitives(value: Any) -> Any:
    """Convert Hydra's containers and numpy's numbers to Python's own. Raises InputError for other types."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_primitives(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_primitives(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"{abbreviate(value)} cannot be stored in a checkpoint: give numbers, text, lists or dictionaries")


def to_floats(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Convert float32 values to the shortest decimals that round to them: 0.98, not 0.9800000190734863."""
    return {name: float(str(np.float32(float(value)))) for name, value in values.items()}
