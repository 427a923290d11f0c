"""Slabs: Lightning's loop runs once per 16 optimizer steps, to save its overhead. The weights are bit-identical.

Lightning's loop adds 0.65 ms per batch to a step of 6 to 16 ms; with 16 steps per batch 0.2 ms per step remain
(2 cores, n = 8; benchmarks/README.md). Callbacks, such as EMAWeightAveraging, run once per slab.
"""

from contextlib import nullcontext
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
    """A DigitClassifier whose training batches are slabs: several batches of `batch_size` images, concatenated.

    trainer.global_step still counts optimizer steps: 938 after an epoch of MNIST.
    `clip` has gradient_clip_val and gradient_clip_algorithm, which a Trainer refuses with manual optimization.
    `log_steps`: also log the mean loss and accuracy of slabs, as often as the Trainer's log_every_n_steps says.
    """

    def __init__(
        self, batch_size: int, clip: dict[str, Any] | None = None, log_steps: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.automatic_optimization = False
        self.batch_size, self.clip, self.log_steps = batch_size, clip, log_steps

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # no loss: manual optimization
        optimizer: Any = self.optimizers()
        schedules = [each.scheduler for each in self.trainer.lr_scheduler_configs if each.interval == "step"]
        slab, device = (scale(batch[0]), batch[1]), self.device.type
        mixed = torch.is_autocast_enabled(device)
        full_precision = torch.autocast(device, enabled=False) if mixed else nullcontext()  # as in Lightning's own loop
        losses, answers = [], []
        for images, labels in zip(*(torch.split(part, self.batch_size) for part in slab), strict=True):
            loss, logits = self.training_loss(images, labels)
            optimizer.zero_grad()
            self.manual_backward(loss)
            with full_precision:
                optimizer.step()
            for schedule in schedules:
                schedule.step()
            losses.append(loss.detach() * len(labels))
            answers.append(logits.detach())
        mean = torch.stack(losses).sum() / len(slab[1])
        # once per slab: on a GPU each call starts seven kernels
        self.train_metrics.update(mean, torch.cat(answers), slab[1])
        if self.log_steps:
            accuracy = (torch.cat(answers).argmax(dim=1) == slab[1]).float().mean()
            self.log_dict({"train/loss_step": mean, "train/acc_step": accuracy})
            self._log_step()

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._log_step()
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                scheduler: Any = config.scheduler
                metrics = {**self.compute_metrics("train"), **self.trainer.callback_metrics}
                watched = metrics["val/loss" if "val/loss" in metrics else "train/loss"]
                scheduler.step(*[watched] if isinstance(scheduler, ReduceLROnPlateau) else ())

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_step()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_step()

    def _log_step(self) -> None:
        """Log the number of optimizer steps: otherwise loggers would show the number of slabs."""
        self.log("step", float(self.trainer.global_step))

    def compute(self, images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n classes"]:
        return forward_fast(self.net, images)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.clip:  # 16-mixed has unscaled the gradients by now
            self.clip_gradients(optimizer, **self.clip)
