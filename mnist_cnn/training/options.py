"""How a training is started, beside its settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What decides nothing about the weights: who started the training, where it is shown, and when it pauses."""

    overrides: Sequence[str] = ()  # kept in the run directory and in its result
    on_start: Callable[[], None] = lambda: None  # called when training starts
    cores: int | None = None  # CPU cores that threads=null stands for; None: all that this process may use
    show_bar: bool = True  # in a terminal, for each epoch
    pause_after: int | None = None  # epochs; then there is no test and no result, and the next call continues
