"""DigitClassifier: the LightningModule."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics.classification import MulticlassConfusionMatrix

from mnist_cnn.data.datasets import DIGITS
from mnist_cnn.data.images import SIDE, as_batch, scale
from mnist_cnn.errors import InputError, one_of
from mnist_cnn.model.backend import evaluation_mode, forward
from mnist_cnn.model.metrics import StageMetrics, macro_f1
from mnist_cnn.model.optimizers import KerasRMSprop
from mnist_cnn.model.primitives import to_primitives
from mnist_cnn.model.registry import GIVEN, build_net
from mnist_cnn.model.teacher import Teacher
from mnist_cnn.schema import Reading

_PREDICT_BATCH = 250  # images per forward pass: 0.14 ms each on a CPU thread; 0.25 ms with 1,000 (AVX2, n = 4)

Images = Shaped[Tensor, "n 1 28 28"]  # integers 0-255, or floats 0-1
Batch = tuple[Images, Int64[Tensor, " n"]] | list[Tensor]  # a list: from torch's default collate function


class Prediction(NamedTuple):
    """The label of each image, an index of `DigitClassifier.classes`, and the probability of every class."""

    labels: Int64[Tensor, " n"]
    probabilities: Float[Tensor, "n classes"]

    @property
    def digits(self) -> Int64[Tensor, " n"]:
        """The labels, where the classes are digits."""
        return self.labels


class DigitClassifier(pl.LightningModule):
    """A network with its training, validation, test and predict step.

    - `model`: the network's name and options, such as {"name": "conv", "padding": "same"}. Stored in checkpoints.
    - `optimizer`: called with the parameters.
    - `scheduler`: called with the optimizer. Returns a scheduler, which advances once per epoch as usual in Lightning,
      or Lightning's dictionary, such as {"scheduler": ..., "interval": "step"}. ReduceLROnPlateau monitors val/loss
      unless the dictionary names another metric.
    - `label_smoothing`: the share of the target, in [0, 1), that is distributed equally over all classes in training
      (Szegedy et al. 2016, section 7). Stored in checkpoints.
    - `teacher`: its outputs replace the labels. Not stored in checkpoints.
    - `net`: your own network instead of `model`; it maps images (n, 1, 28, 28), 0-1, to logits (n, classes).
      Checkpoints store only its weights: load them with `load_from_checkpoint(path, net=...)`.
    - `lr`: replaces the optimizer's learning rate. Lightning's Tuner.lr_find sets it.
    - `classes`: the names of the classes; None: the digits 0-9, or as many numbers as `model` has classes. Stored in
      checkpoints.
    - `class_weights`: multiply the loss of each class's images in training. Not stored in checkpoints.
    - `reading`: how `read_picture` turns a picture into this classifier's input. Stored in checkpoints.

    Raises InputError for an unknown network or option.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = KerasRMSprop,
        scheduler: Callable[[Optimizer], Any] | None = None,
        label_smoothing: float = 0.0,
        teacher: Teacher | None = None,
        net: nn.Module | None = None,
        lr: float | None = None,
        classes: Sequence[str] | None = None,
        class_weights: Sequence[float] | None = None,
        reading: Reading = "ink",
    ) -> None:
        super().__init__()
        options = to_primitives(dict(model or {}))
        if classes is not None and len(classes) != options.get("classes", len(DIGITS)):
            options["classes"] = len(classes)
        self.classes = tuple(classes or map(str, range(options.get("classes", len(DIGITS)))))
        self.reading = reading
        if net is not None and model is None:
            options = {"name": GIVEN, "net": f"{type(net).__module__}.{type(net).__qualname__}"}
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing} is out of range: give 0 or more, but less than 1")
        kept = {"model": options, "label_smoothing": to_primitives(label_smoothing)}
        kept |= {"classes": [*self.classes]} if self.classes != DIGITS else {}
        kept |= {"reading": reading} if reading != "ink" else {}
        self.save_hyperparameters(kept)
        self.net: nn.Module = build_net(**options) if net is None else net
        self.optimizer, self.scheduler, self.lr = optimizer, scheduler, lr
        self.label_smoothing, self.teacher = label_smoothing, teacher
        self.trained_with: list[str] | None = None  # the optimizers of the resumed checkpoint
        self.train_metrics, self.val_metrics, self.test_metrics = StageMetrics(), StageMetrics(), StageMetrics()
        self.confusion = MulticlassConfusionMatrix(len(self.classes), validate_args=False)  # of the test images
        weights = None if class_weights is None else torch.tensor([*class_weights], dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.frozen: list[nn.Module] = []
        self.example_input_array = torch.zeros(1, 1, SIDE, SIDE)

    def forward(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return logits for images, integers 0-255 or floats 0-1, in the precision of the network's weights."""
        return self.compute(scale(images).to(next((part.dtype for part in self.net.parameters()), torch.float32)))

    def compute(self, images: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n classes"]:
        """Apply the network to floats 0-1."""
        return forward(self.net, images)

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        images, labels = batch
        loss, logits = self.training_loss(images, labels)
        self.train_metrics.update(loss.detach(), logits.detach(), labels)
        self._log_step_loss(loss.detach())
        return loss

    def _log_step_loss(self, loss: Float[Tensor, ""]) -> None:
        try:
            self.trainer  # noqa: B018 - raises in a loop of your own, without a Trainer
        except RuntimeError:
            return
        self.log("train/loss_step", loss, prog_bar=True)

    def training_loss(
        self, images: Images, labels: Int64[Tensor, " n"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n classes"]]:
        """Return the mean loss that training minimizes, and the logits."""
        logits = self(images)
        if self.teacher:
            return self.teacher.loss(images, logits), logits
        loss = F.cross_entropy(logits, labels, self.class_weights, label_smoothing=self.label_smoothing)
        return loss, logits

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Float[Tensor, ""]:
        return self._evaluate(batch, self.val_metrics)[0]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Float[Tensor, ""]:
        loss, logits = self._evaluate(batch, self.test_metrics)
        self.confusion.update(logits, batch[1])
        return loss

    def predict_step(self, batch: Batch | Images, batch_idx: int, dataloader_idx: int = 0) -> Prediction:
        return _prediction([self(batch if isinstance(batch, Tensor) else batch[0])])

    def _evaluate(self, batch: Batch, metrics: StageMetrics) -> tuple[Float[Tensor, ""], Float[Tensor, "n classes"]]:
        """Add a batch to the metrics, of all loaders together, and return its loss and logits."""
        images, labels = batch
        logits = self(images)
        if logits.shape[1] != len(self.classes):
            raise InputError(f"the network has {logits.shape[1]} logits for {len(self.classes)} classes: give classes=")
        loss = F.cross_entropy(logits, labels)
        metrics.update(loss, logits, labels)
        return loss, logits

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:  # an epoch begins; after resuming, Lightning does not always call on_train_epoch_start
            self.train_metrics.reset()

    def on_validation_epoch_start(self) -> None:
        self.val_metrics.reset()

    def on_test_epoch_start(self) -> None:
        self.test_metrics.reset()
        self.confusion.reset()

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.compute_metrics("train"), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.compute_metrics("val"), sync_dist=True)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.compute_metrics("test"), sync_dist=True)
        if self.confusion.update_called:
            self.log("test/f1", macro_f1(self.confusion.compute()), sync_dist=True)

    def compute_metrics(self, stage: str) -> dict[str, Tensor]:
        """Return the metrics of stage train, val or test by their full names: train/loss, train/acc."""
        metrics: StageMetrics = getattr(self, f"{stage}_metrics")
        if not metrics.update_called:  # a subclass takes its steps itself
            return {}
        return {f"{stage}/{name}": value for name, value in metrics.compute().items()}

    def freeze_layers(self, names: Iterable[str]) -> None:
        """Freeze the named layers: their weights and running statistics do not change in training.

        Raises InputError for a layer that the network does not have, and if no other has weights.
        """
        layers = dict(self.net.named_children())
        for layer in self.frozen:  # by an earlier call
            layer.requires_grad_(True)
        self.frozen = [layers[one_of("freeze", name, layers)] for name in names]
        for layer in self.frozen:
            layer.requires_grad_(False)
        if not any(part.requires_grad for part in self.net.parameters()):
            raise InputError("freeze leaves no layer to train")
        self.train(self.training)

    def train(self, mode: bool = True) -> "DigitClassifier":
        super().train(mode)
        for layer in self.frozen:
            layer.eval()
        return self

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
        """Store the class of the optimizer: its state is of no use to another class."""
        checkpoint["optimizer_classes"] = [type(each).__name__ for each in self.trainer.optimizers]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember that class: `configure_optimizers` refuses to resume with another."""
        self.trained_with = checkpoint.get("optimizer_classes")

    @torch.no_grad()
    def predict(self, images: ArrayLike | Tensor) -> Prediction:
        """Return labels and probabilities for one image or many, computed on the classifier's device.

        Accepts shapes (28, 28), (n, 28, 28) and (n, 1, 28, 28), uint8 in 0-255 or floats in 0-1.
        Raises InputError for others.
        """
        with evaluation_mode(self):
            logits = [self(part.to(self.device)) for part in torch.split(as_batch(images), _PREDICT_BATCH)]
        return _prediction(logits)


def _prediction(logits: Sequence[Float[Tensor, "_ _"]]) -> Prediction:
    probabilities = torch.cat([*logits]).softmax(dim=1)
    return Prediction(probabilities.argmax(dim=1), probabilities)
