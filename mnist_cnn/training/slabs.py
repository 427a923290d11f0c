"""Several optimizer steps per batch of Lightning's, so that its own work for a batch is done once for all of them.

Lightning's loop takes 0.65 ms a batch around a step of 6 to 16 ms; with 16 steps per batch 0.2 ms a step remain
(2 cores, n = 8; benchmarks/README.md). The weights are bit-identical.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mnist_cnn.data.images import scale
from mnist_cnn.model.backend import forward_fast
from mnist_cnn.model.classifier import Batch, DigitClassifier

STEPS_PER_SLAB = 16


class SlabClassifier(DigitClassifier):
    """A DigitClassifier whose training batches are slabs: several batches of `batch_size` images in one.

    Lightning counts the optimizer's steps itself: trainer.global_step is 938 after an epoch of MNIST.
    `clip` takes gradient_clip_val and gradient_clip_algorithm, which a Trainer refuses beside manual optimization.
    """

    def __init__(self, batch_size: int, clip: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False
        self.batch_size, self.clip = batch_size, clip

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # no loss: we step here
        optimizer: Any = self.optimizers()
        schedules = [each.scheduler for each in self.trainer.lr_scheduler_configs if each.interval == "step"]
        slab = scale(batch[0]), batch[1]
        losses, answers = [], []
        for images, labels in zip(*(torch.split(part, self.batch_size) for part in slab), strict=True):
            loss, logits = self.training_loss(images, labels)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            for schedule in schedules:
                schedule.step()
            losses.append(loss.detach() * len(labels))
            answers.append(logits.detach())
        mean = torch.stack(losses).sum() / len(slab[1])
        self.train_metrics.update(mean, torch.cat(answers), slab[1])  # once: on a GPU each call starts seven kernels

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._log_step()
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                scheduler: Any = config.scheduler
                metrics = {**self.values("train"), **self.trainer.callback_metrics}
                watched = metrics["val/loss" if "val/loss" in metrics else "train/loss"]
                scheduler.step(*[watched] if isinstance(scheduler, ReduceLROnPlateau) else ())

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_step()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_step()

    def _log_step(self) -> None:
        """Tell loggers the optimizer's step; Lightning counts slabs."""
        self.log("step", float(self.trainer.global_step))

    def compute(self, images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        return forward_fast(self.net, images)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.clip:  # here 16-mixed has already divided the gradients by its scale
            self.clip_gradients(optimizer, **self.clip)
