"""DigitClassifier: the LightningModule."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import ArrayLike
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from mnist_cnn.data.pictures import as_batch, scale
from mnist_cnn.model.nets import build_net
from mnist_cnn.model.optimizers import KerasRMSprop

_AT_ONCE = 1000  # images in one forward pass of `predict`

Batch = tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]
Batches = list[tuple[UInt8[Tensor, "_ 1 28 28"], Int64[Tensor, " _"]]]  # of several steps; the last may be short
Given = Batch | Batches | list[Tensor]  # the last as a DataLoader with torch's own collate_fn makes a batch


class Prediction(NamedTuple):
    """Digits 0-9, and the probability of each of the ten for every image."""

    digits: Int64[Tensor, " n"]
    probabilities: Float[Tensor, "n 10"]


class StageMetrics(Metric):
    """Mean cross-entropy and accuracy over the images seen since the last reset, of all processes."""

    full_state_update = False
    loss: Float[Tensor, ""]
    correct: Int64[Tensor, ""]
    images: Int64[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        for name, zero in (("loss", 0.0), ("correct", 0), ("images", 0)):  # a run cut within an epoch goes on counting
            self.add_state(name, torch.tensor(zero), dist_reduce_fx="sum", persistent=True)

    def update(self, loss: Float[Tensor, ""], logits: Float[Tensor, "n 10"], labels: Int64[Tensor, " n"]) -> None:
        """Count a batch."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Return loss and acc."""
        return {"loss": self.loss / self.images, "acc": self.correct / self.images}


def plain(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Turn float32 values into the shortest decimals that stand for them: 0.98 rather than 0.9800000190734863."""
    return {name: float(str(np.float32(value))) for name, value in values.items()}


class DigitClassifier(pl.LightningModule):
    """A network of the registry with its training, validation and test step, and `predict`.

    `model` holds the network's name and options, primitives alone: they are what a checkpoint keeps. `optimizer`
    gets the parameters, `scheduler` the optimizer, to be advanced at every step; neither is kept. In training all ten
    digits get equal parts of `label_smoothing`, the true one the rest of 1 too (Szegedy et al. 2016, section 7).
    Raises InputError if `model` names no network, or an option that it has not.
    """

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = KerasRMSprop,
        scheduler: Callable[[Optimizer], LRScheduler | None] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"model": dict(model or {})})
        self.net = build_net(**(model or {}))
        self.train_metrics, self.val_metrics, self.test_metrics = (
            StageMetrics(),
            StageMetrics(),
            StageMetrics(),
        )
        self._optimizer, self._scheduler, self._label_smoothing = optimizer, scheduler, label_smoothing
        self.losses: list[Tensor] = []  # of the steps of the newest batch

    def setup(self, stage: str) -> None:
        # a GPU's convolutions would round to TF32; trainer.precision=bf16-mixed is how to ask for other numbers
        torch.backends.cudnn.allow_tf32 = False

    def forward(self, images: UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Return logits for images, bytes 0-255 or floats 0-1."""
        logits: Tensor = self.net(scale(images).to(self.dtype))
        return logits

    @torch.no_grad()
    def predict(self, images: ArrayLike | Tensor) -> Prediction:
        """Return digits and probabilities for one image or many, on the device where the classifier is.

        Takes shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floating point in 0-1.
        Raises InputError for any other.
        """
        was_training = self.training
        self.eval()
        logits = [self(part.to(self.device)) for part in torch.split(as_batch(images), _AT_ONCE)]
        self.train(was_training)
        probabilities = torch.cat(logits).softmax(dim=1)
        return Prediction(probabilities.argmax(dim=1), probabilities)

    def metrics(self, stage: str) -> StageMetrics:
        """Return the metrics of stage train, val or test."""
        metrics: StageMetrics = getattr(self, f"{stage}_metrics")
        return metrics

    def values(self, stage: str) -> dict[str, Tensor]:
        """Compute a stage's metrics under their full names: train/loss, train/acc."""
        return {f"{stage}/{name}": value for name, value in self.metrics(stage).compute().items()}

    def on_train_batch_start(self, batch: Given, batch_idx: int) -> None:
        """Given several steps' batches take all but the last step here, without Lightning's hooks and options."""
        if several := _several(batch):
            self.losses = []
            (optimizer,) = self.trainer.optimizers
            for each in several[:-1]:
                loss = self._train(each)
                optimizer.zero_grad()
                self.backward(loss)
                optimizer.step()
                for config in self.trainer.lr_scheduler_configs:
                    self.lr_scheduler_step(config.scheduler, None)
            self._count_steps(len(several) - 1)

    def training_step(self, batch: Given, batch_idx: int) -> Float[Tensor, ""]:
        if several := _several(batch):
            return self._train(several[-1])
        self.losses = []
        return self._train(cast(Batch, tuple(batch)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        return self.predict(batch[0])

    def _count_steps(self, steps: int) -> None:
        """Have Lightning count `steps` batches more, so that it stands where it would, had it taken them."""
        loop = self.trainer.fit_loop.epoch_loop
        is_last = loop.batch_progress.current.ready + steps == self.trainer.num_training_batches
        loop.batch_progress.increment_by(steps, is_last)
        loop.automatic_optimization.optim_progress.optimizer.step.increment_by(steps)
        loop._batches_that_stepped += steps

    def _train(self, batch: Batch) -> Float[Tensor, ""]:
        loss = self._step(batch, "train")
        self.losses.append(loss.detach())
        return loss

    def _step(self, batch: Batch, stage: str) -> Float[Tensor, ""]:
        images, labels = batch
        logits = self(images)
        smoothing = self._label_smoothing if stage == "train" else 0.0
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        self.metrics(stage).update(loss.detach(), logits.detach(), labels)
        return loss

    def on_train_epoch_start(self) -> None:
        self.train_metrics.reset()

    def on_validation_epoch_start(self) -> None:
        self.val_metrics.reset()

    def on_test_epoch_start(self) -> None:
        self.test_metrics.reset()

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.values("train"))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.values("val"))

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.values("test"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # fused optimizers pair weights and state in memory's order, and state was channels_last once
        for optimizer in checkpoint.get("optimizer_states", []):
            for state in optimizer["state"].values():
                state |= {name: value.contiguous() for name, value in state.items() if isinstance(value, Tensor)}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, scheduler = self.build_optimizer()
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def build_optimizer(self) -> tuple[Optimizer, LRScheduler | None]:
        """Build the optimizer of these parameters, and the scheduler of that, if there is to be one."""
        optimizer = self._optimizer(self.parameters())
        return optimizer, self._scheduler(optimizer) if self._scheduler else None


def _several(batch: Given) -> Batches | None:
    return batch if isinstance(batch[0], tuple) else None


def as_classifier(module: pl.LightningModule) -> DigitClassifier:
    """Say that it is one, where Lightning's types know a module alone."""
    assert isinstance(module, DigitClassifier)
    return module
