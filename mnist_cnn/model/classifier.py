"""DigitClassifier: the LightningModule."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

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

from mnist_cnn.data.images import as_batch, scale
from mnist_cnn.model.backend import forward_fast
from mnist_cnn.model.nets import build_net
from mnist_cnn.model.optimizers import KerasRMSprop
from mnist_cnn.model.teacher import Teacher

_PREDICT_BATCH = 250  # images in one forward pass: 0.14 ms each on a CPU thread, 0.25 in passes of 1,000 (AVX2, n = 4)

Images = UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]
Batch = tuple[Images, Int64[Tensor, " n"]] | list[Tensor]  # the second from torch's own collate function


class Prediction(NamedTuple):
    """Digits 0-9, and the probability of each of the ten for every image."""

    digits: Int64[Tensor, " n"]
    probabilities: Float[Tensor, "n 10"]


class StageMetrics(Metric):
    """Mean cross-entropy and accuracy over the images seen since the last reset, over all processes."""

    full_state_update = False
    loss: Float[Tensor, ""]
    correct: Int64[Tensor, ""]
    images: Int64[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        for name, zero in (("loss", 0.0), ("correct", 0), ("images", 0)):  # saved, so that a resumed epoch goes on
            self.add_state(name, torch.tensor(zero), dist_reduce_fx="sum", persistent=True)

    def update(self, loss: Float[Tensor, ""], logits: Float[Tensor, "n 10"], labels: Int64[Tensor, " n"]) -> None:
        """Count a batch; `loss` is its mean."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Return loss and acc."""
        return {"loss": self.loss / self.images, "acc": self.correct / self.images}


class DigitClassifier(pl.LightningModule):
    """A network with its training, validation, test and predict step.

    `model` holds the network's name and options; a checkpoint keeps them. `optimizer` is called with the parameters,
    `scheduler` with the optimizer; the scheduler advances at every step. `label_smoothing`, in [0, 1), is the share of
    the target that all ten digits share equally in training (Szegedy et al. 2016, section 7). With a `teacher` its
    answers are learned instead of the labels; no checkpoint keeps it.
    Raises InputError if there is no such network or option.
    """

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = KerasRMSprop,
        scheduler: Callable[[Optimizer], LRScheduler | None] | None = None,
        label_smoothing: float = 0.0,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"model": dict(model or {})})
        self.net = build_net(**(model or {}))
        self.optimizer, self.scheduler = optimizer, scheduler
        self.label_smoothing, self.teacher = label_smoothing, teacher
        self.train_metrics, self.val_metrics, self.test_metrics = StageMetrics(), StageMetrics(), StageMetrics()

    def forward(self, images: Images) -> Float[Tensor, "n 10"]:
        """Return logits for images, bytes 0-255 or floats 0-1."""
        return forward_fast(self.net, scale(images).to(self.dtype))

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        images, labels = batch
        loss, logits = self.training_loss(images, labels)
        self.train_metrics.update(loss.detach(), logits.detach(), labels)
        return loss

    def training_loss(
        self, images: Images, labels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n 10"]]:
        """Return what training minimizes, the mean over a batch, and the logits."""
        logits = self(images)
        if self.teacher:
            return self.teacher.loss(images, logits), logits
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, self.test_metrics)

    def predict_step(self, batch: Batch | Images, batch_idx: int) -> Prediction:
        return self.predict(batch if isinstance(batch, Tensor) else batch[0])

    def _evaluate(self, batch: Batch, metrics: StageMetrics) -> None:
        images, labels = batch
        logits = self(images)
        metrics.update(F.cross_entropy(logits, labels), logits, labels)

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

    def values(self, stage: str) -> dict[str, Tensor]:
        """Compute the metrics of stage train, val or test under their full names: train/loss, train/acc."""
        metrics: StageMetrics = getattr(self, f"{stage}_metrics")
        return {f"{stage}/{name}": value for name, value in metrics.compute().items()}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.parameters())
        scheduler = self.scheduler(optimizer) if self.scheduler else None
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def predict(self, images: ArrayLike | Tensor) -> Prediction:
        """Return digits and probabilities for one image or many, computed on the classifier's device.

        Takes shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floating point in 0-1.
        Raises InputError for any other.
        """
        was_training = self.training
        self.eval()
        logits = [self(part.to(self.device)) for part in torch.split(as_batch(images), _PREDICT_BATCH)]
        self.train(was_training)
        probabilities = torch.cat(logits).softmax(dim=1)
        return Prediction(probabilities.argmax(dim=1), probabilities)


def to_floats(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Return float32 values as the shortest decimals that stand for them: 0.98, not 0.9800000190734863."""
    return {name: float(str(np.float32(float(value)))) for name, value in values.items()}
