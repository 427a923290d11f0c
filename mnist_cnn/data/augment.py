"""Augmentation: training images moved, bent, and drawn with a thinner or thicker pen, anew in every epoch.

The result depends only on the seed, the epoch, the number of training images and the image's index: not on the batch
size, nor on interruptions.
"""

import hashlib

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mnist_cnn.data.images import SIDE, scale
from mnist_cnn.data.warp import Displacement, bell, centred_grid, warp
from mnist_cnn.schema import Augmentation

CPU = torch.device("cpu")
_NODES = 7  # an elastic displacement is a sum of 7 x 7 Gaussians, 4 pixels apart, which is cheaper than smoothing noise


class Augmenter:
    """Distorts training images, `images` in number, with random numbers that are drawn for each epoch.

    It computes on `device`. The numbers are drawn on the CPU, so that they are the same on every device.
    """

    def __init__(self, augmentation: Augmentation, images: int, seed: int, device: torch.device = CPU) -> None:
        self.augmentation, self.images, self.seed, self.device = augmentation, images, seed, device
        self._bells = _bells().to(device)
        self._epoch = -1

    def __call__(
        self, images: UInt8[Tensor, "n 1 28 28"], indices: Int64[Tensor, " n"], epoch: int
    ) -> Float[Tensor, "n 1 28 28"]:
        """Distort the images that have these indices. Returns floats 0-1, on the images' device."""
        if epoch != self._epoch:
            self._draw(epoch)
        indices, strengths = indices.to(self.device), self.augmentation
        displacement = _affine(strengths, self._affine[indices])
        if strengths.elastic:
            noise = strengths.elastic * self._elastic[indices]
            displacement += self._bells @ noise @ self._bells.mT
        warped = warp(scale(images.to(self.device)), displacement, "bicubic")
        if strengths.stroke:
            warped = warped ** torch.exp2(strengths.stroke * self._stroke[indices])
        return warped.to(images.device)

    def _draw(self, epoch: int) -> None:
        """Draw the numbers of all images for an epoch: 25 MB for 60,000 images with elastic distortion."""
        # hashed, so that the numbers are unrelated to the order of the images, which EpochOrder draws from its own seed
        digest = hashlib.sha256(f"augment {self.seed} {epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4]))  # torch uses 32 bits of a seed
        affine = torch.rand(self.images, 6, generator=generator) * 2 - 1
        nodes = _NODES if self.augmentation.elastic else 0
        elastic = torch.randn(self.images, 2, nodes, nodes, generator=generator)
        stroke = torch.rand(self.images, 1, 1, 1, generator=generator) * 2 - 1
        self._affine, self._elastic, self._stroke = (numbers.to(self.device) for numbers in (affine, elastic, stroke))
        self._epoch = epoch


def _affine(strengths: Augmentation, numbers: Float[Tensor, "n 6"]) -> Displacement:
    """Return the displacement for six numbers from -1 to 1: rotation, width, height, shear, shift right, shift down."""
    turn, wide, high, shear, right, down = numbers.unbind(dim=1)
    angle = torch.deg2rad(turn * strengths.turn)
    cos, sin = angle.cos(), angle.sin()
    wide, high = 1 / (1 + wide * strengths.scale), 1 / (1 + high * strengths.scale)
    lean = shear * strengths.shear
    to_right = [wide * (cos - lean * sin) - 1, wide * (sin + lean * cos), -strengths.shift * right]
    to_below = [-high * sin, high * cos - 1, -strengths.shift * down]  # the inverse: rotate, shear and scale back
    x, y = centred_grid(numbers.device)
    position = torch.stack([x, y, torch.ones_like(x)]).view(3, SIDE * SIDE)
    return (torch.stack(to_right + to_below, dim=1).view(-1, 3) @ position).view(-1, 2, SIDE, SIDE)


def _bells() -> Float[Tensor, "28 nodes"]:
    """Return the Gaussians along one axis, scaled so that standard normal noise moves each pixel by 1 (RMS)."""
    nodes = (torch.arange(_NODES) + 0.5) * SIDE / _NODES - 0.5
    bells = bell(torch.arange(SIDE)[:, None] - nodes)
    return bells.div_(bells.norm(dim=1, keepdim=True) * 2**0.25)  # equal for all pixels, and 1 along both axes together
