"""What saving costs."""

import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training.saving import SaveLast


def cost(work: Path, epochs: int = 5) -> str:
    """Train with a save every 10 steps, time each, and say what share of the time it would be every 100."""
    seconds: list[float] = []
    save = SaveLast._save

    def timed(*arguments: Any) -> None:
        begin = time.perf_counter()
        save(*arguments)
        seconds.append(time.perf_counter() - begin)

    keys = ["data.name=sample", "trainer=cpu", f"trainer.max_epochs={epochs}", "checkpoint.every_steps=10"]
    config = compose(*keys)
    SaveLast._save = timed  # type: ignore[method-assign]
    try:
        result = train(config, Run(work))
    finally:
        SaveLast._save = save  # type: ignore[method-assign]
    steps = result["steps"]
    within = len(seconds) - epochs  # the save at an epoch's end comes after its time was taken
    step = (sum(result["seconds_per_epoch"]) - within * median(seconds)) / steps
    low, *_, high = quantiles(seconds, n=10)
    return (
        f"a save takes {1e3 * median(seconds):.1f} ms (median of {len(seconds)}; a tenth under {1e3 * low:.1f}, "
        f"a tenth over {1e3 * high:.1f}), a step {1e3 * step:.1f} ms: "
        f"every 100 steps that is {median(seconds) / (100 * step):.2%} of the time"
    )
