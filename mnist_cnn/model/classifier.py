"""DigitClassifier: the LightningModule."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import ArrayLike
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from mnist_cnn.data.images import SIDE, as_batch, scale
from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.model.backend import forward
from mnist_cnn.model.nets import build_net
from mnist_cnn.model.optimizers import KerasRMSprop
from mnist_cnn.model.teacher import Teacher

_PREDICT_BATCH = 250  # images in one forward pass: 0.14 ms each on a CPU thread, 0.25 in passes of 1,000 (AVX2, n = 4)

Images = Shaped[Tensor, "n 1 28 28"]  # integers 0-255, or floats 0-1
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

    - `model`: the network's name and options, such as {"name": "conv", "padding": "same"}. A checkpoint keeps them.
    - `net`: a network of one's own instead, which maps images (n, 1, 28, 28), 0-1, to logits (n, 10). A checkpoint
      keeps its weights, and is loaded with `load_from_checkpoint(path, net=...)`.
    - `optimizer`: called with the parameters.
    - `scheduler`: called with the optimizer. Returns a scheduler, which advances at every epoch as Lightning has it;
      or Lightning's dictionary, such as {"scheduler": ..., "interval": "step"}. ReduceLROnPlateau watches val/loss
      unless the dictionary has another monitor.
    - `label_smoothing`: the share of the target, in [0, 1), that all ten digits share equally in training (Szegedy et
      al. 2016, section 7). A checkpoint keeps it.
    - `teacher`: its answers are learned instead of the labels. No checkpoint keeps it.
    - `lr`: replaces the optimizer's learning rate. Lightning's Tuner.lr_find sets it.

    Raises InputError if there is no such network or option.
    """

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = KerasRMSprop,
        scheduler: Callable[[Optimizer], Any] | None = None,
        label_smoothing: float = 0.0,
        teacher: Teacher | None = None,
        net: nn.Module | None = None,
        lr: float | None = None,
    ) -> None:
        super().__init__()
        options = to_primitives(dict(model or {}))
        if net is not None and model is None:
            options = {"name": f"{type(net).__module__}.{type(net).__qualname__}"}
        self.save_hyperparameters({"model": options, "label_smoothing": to_primitives(label_smoothing)})
        self.net: nn.Module = build_net(**options) if net is None else net
        self.optimizer, self.scheduler, self.lr = optimizer, scheduler, lr
        self.label_smoothing, self.teacher = label_smoothing, teacher
        self.trained_with: list[str] | None = None  # the optimizers of the checkpoint that is resumed
        self.train_metrics, self.val_metrics, self.test_metrics = StageMetrics(), StageMetrics(), StageMetrics()
        self.example_input_array = torch.zeros(1, 1, SIDE, SIDE)

    def forward(self, images: Images) -> Float[Tensor, "n 10"]:
        """Return logits for images, integers 0-255 or floats 0-1, in the precision of the network's weights."""
        return self.compute(scale(images).to(next((part.dtype for part in self.net.parameters()), torch.float32)))

    def compute(self, images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Apply the network to floats 0-1."""
        return forward(self.net, images)

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        images, labels = batch
        loss, logits = self.training_loss(images, labels)
        self.train_metrics.update(loss.detach(), logits.detach(), labels)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if isinstance(outputs, Mapping) and "loss" in outputs:  # a subclass may take its steps itself
            self.log("train/loss_step", outputs["loss"], prog_bar=True)

    def training_loss(
        self, images: Images, labels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n 10"]]:
        """Return what training minimizes, the mean over a batch, and the logits."""
        logits = self(images)
        if self.teacher:
            return self.teacher.loss(images, logits), logits
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing), logits

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Float[Tensor, ""]:
        return self._evaluate(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Float[Tensor, ""]:
        return self._evaluate(batch, self.test_metrics)

    def predict_step(self, batch: Batch | Images, batch_idx: int, dataloader_idx: int = 0) -> Prediction:
        return _prediction([self(batch if isinstance(batch, Tensor) else batch[0])])

    def _evaluate(self, batch: Batch, metrics: StageMetrics) -> Float[Tensor, ""]:
        """Count a batch, of all loaders together, and return its loss."""
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        metrics.update(loss, logits, labels)
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

    def values(self, stage: str) -> dict[str, Tensor]:
        """Compute the metrics of stage train, val or test under their full names: train/loss, train/acc."""
        metrics: StageMetrics = getattr(self, f"{stage}_metrics")
        return {f"{stage}/{name}": value for name, value in metrics.compute().items()}

    def setup(self, stage: str) -> None:
        self.trained_with = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.parameters())
        if self.trained_with and self.trained_with != [name := type(optimizer).__name__]:
            raise InputError(f"the checkpoint was trained with {self.trained_with[0]}, not {name}: give that optimizer")
        for group in optimizer.param_groups if self.lr is not None else []:
            group["lr"] = self.lr
        scheduler = self.scheduler(optimizer) if self.scheduler else None
        if scheduler is None:
            return optimizer
        config = scheduler if isinstance(scheduler, dict) else {"scheduler": scheduler}
        if isinstance(config["scheduler"], ReduceLROnPlateau) and self.automatic_optimization:
            config = {"monitor": "val/loss", **config}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": config})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the classes of the optimizers, whose state makes no sense to others."""
        checkpoint["optimizer_classes"] = [type(each).__name__ for each in self.trainer.optimizers]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember them: `configure_optimizers` refuses to resume with another."""
        self.trained_with = checkpoint.get("optimizer_classes")

    @torch.no_grad()
    def predict(self, images: ArrayLike | Tensor) -> Prediction:
        """Return digits and probabilities for one image or many, computed on the classifier's device.

        Takes shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floating point in 0-1.
        Raises InputError for any other.
        """
        in_training = [module for module in self.modules() if module.training]
        self.eval()
        logits = [self(part.to(self.device)) for part in torch.split(as_batch(images), _PREDICT_BATCH)]
        for module in in_training:
            module.training = True
        return _prediction(logits)


def _prediction(logits: Sequence[Float[Tensor, "_ 10"]]) -> Prediction:
    probabilities = torch.cat([*logits]).softmax(dim=1)
    return Prediction(probabilities.argmax(dim=1), probabilities)


def to_primitives(value: Any) -> Any:
    """Return hyper-parameters as a checkpoint can keep them: Hydra's containers and numpy's numbers as Python's own.

    Raises InputError for anything else.
    """
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_primitives(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_primitives(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InputError(f"{abbreviate(value)} cannot be kept in a checkpoint: give numbers, text, lists or dictionaries")


def to_floats(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Return float32 values as the shortest decimals that stand for them: 0.98, not 0.9800000190734863."""
    return {name: float(str(np.float32(float(value)))) for name, value in values.items()}
