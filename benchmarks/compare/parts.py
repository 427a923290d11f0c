"""Where a step's time goes in our training: `python -m benchmarks.compare.parts DATA_DIR [OVERRIDE ...]`.

Each part is timed around the functions that do it; what is left is Lightning's own, our callbacks with it.
"""

import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mnist_cnn.cli import run_command

EPOCHS = 4  # the first warms up


def main() -> None:
    """Train, print a line per part: milliseconds a step, median over the epochs."""
    import lightning.pytorch as pl
    import torch
    from torch.utils.data import dataloader

    from benchmarks.compare.ours import prepare
    from mnist_cnn.model.classifier import DigitClassifier
    from mnist_cnn.model.metrics import StageMetrics
    from mnist_cnn.model.optimizers import KerasAdam, KerasRMSprop, Muon

    seconds: Counter[str] = Counter()
    epochs: list[dict[str, float]] = []

    def timed(part: str, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[part] += time.perf_counter() - begin

        setattr(owner, name, wrapper)

    class Epochs(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seconds.clear()
            self.begin = time.perf_counter()

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            rest = time.perf_counter() - self.begin - sum(seconds.values())
            steps = trainer.global_step / (trainer.current_epoch + 1)
            epochs.append({part: 1e3 * taken / steps for part, taken in (seconds | {"Lightning": rest}).items()})

    timed("data", dataloader._BaseDataLoaderIter, "__next__")
    timed("forward", DigitClassifier, "forward")
    timed("forward", torch.nn.functional, "cross_entropy")
    timed("backward", torch.Tensor, "backward")
    for optimizer in (KerasRMSprop, KerasAdam, Muon):
        timed("optimizer", optimizer, "_step_group")
    timed("optimizer", torch.optim.Optimizer, "zero_grad")
    timed("metrics", StageMetrics, "update")
    with TemporaryDirectory() as folder:
        job = prepare(Path(folder), Path(sys.argv[1]), *sys.argv[2:], f"trainer.max_epochs={EPOCHS}")
        job.trainer.callbacks.insert(0, Epochs())
        job.fit_and_test()
    typical = {part: median(epoch[part] for epoch in epochs[1:]) for part in epochs[0]}
    total = sum(typical.values())
    for part, taken in typical.items():
        print(f"{part:22} {taken:10.2f} {taken / total:15.0%}")


run_command(main)
