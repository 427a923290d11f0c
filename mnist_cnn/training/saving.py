"""When a training's state is written, and how: whole, sealed, finite, and before a signal ends the run."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from mnist_cnn import signals
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.model.classifier import as_classifier
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import write_whole

_CHECK_EVERY = 50  # steps on the CPU; elsewhere to look at a loss would wait for the device


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all, and read by the one safe reader."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        try:
            content = archive.saved(checkpoint)
        except InputError as error:  # somebody's own optimizer may keep what is no data
            raise RunError(f"this run's state cannot be kept: it {error}") from error
        write_whole(Path(path), content)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: object = None,
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class SaveBest(ModelCheckpoint):
    """Keeps the epoch of the best val/acc in best.ckpt, beside last.ckpt.

    Of its state a checkpoint has the score alone. Lightning's own names files, which it later deletes: whoever wrote
    the checkpoint could name any.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "best", monitor="val/acc", mode="max", enable_version_counter=False)
        self.file = folder / "best.ckpt"

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score = state_dict["score"]
        if score is not None and self.file.is_file():  # not where another directory's run goes on
            self.best_model_score = self.kth_value = score.float().reshape(())
            self.best_model_path = self.kth_best_model_path = str(self.file)
            self.best_k_models = {str(self.file): self.best_model_score}


class SaveLast(Checkpoint):
    """Keeps the newest complete state in one file: after every epoch, every `every_steps` steps, and upon a signal.

    A state whose losses or weights are no finite numbers is never written: it ends the run by a RunError.
    `config` becomes part of each checkpoint, so that a run goes on only with what it began with.
    """

    def __init__(self, path: Path, every_steps: int | None = None, config: Mapping[str, Any] | None = None) -> None:
        self.path, self.every_steps, self.config = path, every_steps, dict(config or {})
        self.started = False
        self._losses: list[tuple[int, Tensor]] = []  # of the steps not yet looked at
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"random": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["random"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.config

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self._saved_step = True, trainer.global_step
        signals.watch()  # Lightning has just taken SIGTERM over, and would end the run without saving

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        losses, done = as_classifier(pl_module).losses, trainer.fit_loop.epoch_loop.batch_idx + 1
        self._losses += zip(range(trainer.global_step - len(losses) + 1, trainer.global_step + 1), losses, strict=True)
        # at the epoch's last batch Lightning would resume behind the epoch's end: the save that follows is the one
        ends = done == trainer.num_training_batches
        stepped = done % trainer.accumulate_grad_batches == 0
        due = stepped and self.every_steps is not None and trainer.global_step % self.every_steps == 0
        # several processes ask each other, which takes its time, only where they save anyway
        stop = stepped and (due or trainer.world_size == 1) and self._asked_to_stop(trainer)
        look = len(self._losses) >= _CHECK_EVERY and pl_module.device.type == "cpu"
        if ends or due or stop or look:
            self._check_finite(trainer, pl_module)
        if (due or stop) and not ends:
            self._save(trainer, stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, self._asked_to_stop(trainer))

    def _asked_to_stop(self, trainer: pl.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(signals.received() is not None, all=False)

    def _save(self, trainer: pl.Trainer, then_stop: bool) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_step = trainer.global_step
        if then_stop:
            raise signals.Stopped(signals.received() or SIGTERM)

    def _check_finite(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps, losses = zip(*self._losses, strict=True)
        self._losses.clear()
        bad = [step for step, finite in zip(steps, torch.stack(losses).isfinite().tolist(), strict=True) if not finite]
        broken = not all(bool(weights.isfinite().all()) for weights in module.parameters())
        if trainer.strategy.reduce_boolean_decision(bool(bad) or broken, all=False):
            what = f"the loss is {losses[steps.index(bad[0])].item()}" if bad else "a weight is no finite number"
            kept = f"is from step {self._saved_step}, before it" if self._saved_step else "was not reached yet"
            raise RunError(
                f"{what} at step {(bad or steps[-1:])[0]}: "
                f"try a smaller optimizer.lr, or +trainer.gradient_clip_val=1; the last checkpoint {kept}"
            )
