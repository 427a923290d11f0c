"""Several trainings take turns, an epoch each, so that none has the machine's better minutes."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl


def take_turns(train_epoch: Callable[[], Any]) -> None:
    """Train an epoch for each line on standard input; print its seconds and the process's peak of memory, in MiB."""
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        train_epoch()
        report(begin)


def report(begin: float) -> None:
    """Print what an epoch took."""
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    print(json.dumps({"seconds": seconds, "MiB": peak}), flush=True)


class Turns(pl.Callback):
    """The same for a Trainer, whose epochs follow each other: each lasts until the next could begin."""

    def __init__(self) -> None:
        self._begin: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._begin is None:
            print("ready", flush=True)
        else:
            report(self._begin)
        if not sys.stdin.readline():
            sys.exit()
        self._begin = time.perf_counter()
