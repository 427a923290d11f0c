"""StageMetrics: loss and accuracy over an epoch."""

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

    def update(self, loss: Float[Tensor, ""], logits: Float[Tensor, "n 10"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch; `loss` is its mean."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Return loss and acc."""
        return {"loss": self.loss / self.images, "acc": self.correct / self.images}
