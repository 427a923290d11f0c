"""Loss and accuracy over an epoch; accuracy and F1 by class."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric


class StageMetrics(Metric):
    """Mean cross-entropy and accuracy over the images seen since the last reset, over all processes."""

    full_state_update = False
    loss: Float[Tensor, ""]
    correct: Int64[Tensor, ""]
    images: Int64[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        for name, zero in (("loss", 0.0), ("correct", 0), ("images", 0)):  # persistent: a resumed epoch continues them
            self.add_state(name, torch.tensor(zero), dist_reduce_fx="sum", persistent=True)

    def update(self, loss: Float[Tensor, ""], logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch; `loss` is its mean."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Return loss and acc."""
        return {"loss": self.loss / self.images, "acc": self.correct / self.images}


def class_accuracies(counts: Int64[Tensor, "classes classes"]) -> list[float | None]:
    """Return the share of each class's images that are right, from a confusion matrix; None where there are none."""
    return [
        right / n if n else None for right, n in zip(counts.diag().tolist(), counts.sum(dim=1).tolist(), strict=True)
    ]


def macro_f1(counts: Int64[Tensor, "classes classes"]) -> Float[Tensor, ""]:
    """Return the mean over the classes of 2 TP / (2 TP + FP + FN), from a confusion matrix.

    A class that no image has and no answer names is left out.
    """
    twice, both = 2 * counts.diag(), counts.sum(dim=0) + counts.sum(dim=1)
    return (twice[both > 0] / both[both > 0]).mean()
