"""Progress of a training: a live bar in a terminal, and one line and one row of metrics.csv per epoch."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mnist_cnn.files import write_atomically
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.primitives import to_floats
from mnist_cnn.runs.rendering import render_records
from mnist_cnn.training.slabs import SlabClassifier

log = logging.getLogger(__name__)

_REFRESH = 0.2  # seconds; reading the metrics waits for the device
_OURS = ("train/", "val/", "step")  # what else is logged is the user's callbacks' own, and becomes a column


def quiet_lightning() -> None:
    """Silence Lightning's messages below warnings, and warnings that do not apply here."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*sync_dist=True")  # the metrics synchronise themselves
    warnings.filterwarnings("ignore", message=".*exists and is not empty")  # a resumed run's directory
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval")  # we log once an epoch
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # Lightning 2.6 on torch 2.15
    warnings.filterwarnings("ignore", message="Found .* in eval mode at the start")  # frozen layers
    warnings.filterwarnings("ignore", message="GPU available but not used")  # as the user chose
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # SLURM is installed, but not used


class EpochLog(pl.Callback):
    """Reports each epoch as Keras does: steps, seconds, time per step, loss and accuracy.

    `rows` has the metrics of each epoch, `seconds` its duration. Both are saved in checkpoints, so that a resumed run
    writes the same file as an uninterrupted run.
    """

    def __init__(self, file: Path | None = None, show_bar: bool = True) -> None:
        self.file, self.show_bar = file, show_bar
        self.rows: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self._begin = self._refreshed = 0.0
        self._elapsed = 0.0  # seconds of this epoch before the interruption
        self._steps = 0  # per epoch
        self._bar: Progress | None = None
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds, "elapsed": time.monotonic() - self._begin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = [dict(row) for row in state_dict["rows"]], list(state_dict["seconds"])
        self._elapsed = float(state_dict["elapsed"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        classifier, loader = cast(SlabClassifier, pl_module), cast(Any, trainer.train_dataloader)
        self._steps = -(-len(loader.sampler) // classifier.batch_size)
        self._start_epoch(trainer, self._elapsed)  # on_train_epoch_start is not called when an epoch is resumed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start_epoch(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._bar is not None and time.monotonic() - self._refreshed > _REFRESH:
            done = trainer.global_step - trainer.current_epoch * self._steps
            values = cast(DigitClassifier, pl_module).compute_metrics("train")
            self._bar.update(self._bar.task_ids[0], completed=done, values=_format(values))
            self._refreshed = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_bar()
        values = cast(DigitClassifier, pl_module).compute_metrics("train")
        values |= {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        others = {name: value for name, value in trainer.callback_metrics.items() if not name.startswith(_OURS)}
        rate = {"lr": max(0.0, trainer.optimizers[0].param_groups[0]["lr"])}  # OneCycleLR's straight line ends below 0
        seconds = time.monotonic() - self._begin
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, "step": trainer.global_step, **to_floats({**values, **rate, **others})})
        self.seconds.append(round(seconds, 3))
        for logger in trainer.loggers:
            logger.log_metrics(rate, trainer.global_step)
        if trainer.is_global_zero:
            self._write()
            log.info(
                f"epoch {epoch}/{trainer.max_epochs}  {self._steps} steps  {seconds:.1f} s  "
                f"{1000 * seconds / self._steps:.1f} ms/step  {_format(values)}"
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop_bar()

    def _start_epoch(self, trainer: pl.Trainer, elapsed: float = 0.0) -> None:
        self._begin = time.monotonic() - elapsed
        console = Console(stderr=True)
        # with several processes, computing a metric would wait for all of them
        if self.show_bar and console.is_terminal and trainer.world_size == 1 and self._bar is None:
            head = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            columns = (TextColumn(head), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[values]}"), console=console, transient=True)
            self._bar.add_task("", total=self._steps, values="")
            self._bar.start()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write(self) -> None:
        if self.file is not None:
            try:
                write_atomically(self.file, f"{render_records(self.rows, 'csv')}\r\n".encode())
            except PermissionError as error:  # Windows: open in a spreadsheet. The next epoch writes all rows
                if not self._warned:
                    log.warning("warning: %s cannot be written: %s", self.file, error.strerror)
                self._warned = True


def _format(values: dict[str, Any]) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in values.items())
