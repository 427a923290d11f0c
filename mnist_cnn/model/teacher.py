"""Knowledge distillation: the outputs of trained networks, the teacher, replace the labels."""

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mnist_cnn.data.datasets import DIGITS
from mnist_cnn.data.images import scale
from mnist_cnn.model.backend import forward, move


class Teacher:
    """The mean of several networks' probabilities, as in Hinton, Vinyals and Dean (2015).

    `temperature` divides the logits of teachers and student: above 1, unlikely digits have more weight.
    """

    def __init__(self, nets: Sequence[nn.Module], temperature: float = 1.0, classes: Sequence[str] = DIGITS) -> None:
        self.nets, self.temperature, self.classes = [net.eval() for net in nets], temperature, tuple(classes)

    @torch.no_grad()
    def probabilities(
        self, images: UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]
    ) -> Float[Tensor, "n classes"]:
        """Return the networks' mean probabilities for images, bytes 0-255 or floats 0-1, at the temperature."""
        floats = scale(images)
        logits = [forward(move(net, images.device), floats) for net in self.nets]
        return (torch.stack(logits) / self.temperature).softmax(dim=2).mean(dim=0)

    def digest(self) -> str:
        """Hash the weights: 12 hexadecimal digits."""
        weights = [part.detach().cpu().numpy().tobytes() for net in self.nets for part in net.parameters()]
        return hashlib.sha256(b"".join(weights)).hexdigest()[:12]

    def loss(
        self, images: UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"], logits: Float[Tensor, "n classes"]
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of a student's logits, times temperature² to keep the size of the gradients."""
        softened = F.cross_entropy(logits / self.temperature, self.probabilities(images))
        return self.temperature**2 * softened
