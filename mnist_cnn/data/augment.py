"""Augmentation: training images moved, bent, and drawn with a thinner or thicker pen, anew in every epoch.

What happens to an image is a function of the seed, the epoch, the number of training images and its place among them:
batches of any size and runs that were interrupted see the same pictures.
"""

import hashlib
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mnist_cnn.data.images import SIDE, scale
from mnist_cnn.data.warp import Field, warp

CPU = torch.device("cpu")
_NODES = 7  # an elastic field is the sum of 7 x 7 Gaussians of random height, 4 pixels apart,
_SMOOTHNESS = 4.0  # with this sigma, in pixels


@dataclass(frozen=True)
class Augmentation:
    """How far training images are distorted.

    Drawn uniformly between minus and plus: `shift` in pixels, along both axes; `turn` in degrees; `scale` as a share,
    each axis by itself: 0.1 makes it 0.9 to 1.1 times as long; `shear` as the share of the height by which the top
    leans; `stroke` as the u in 2^u, the power to which brightness, 0-1, is raised: strokes get thinner if u > 0, else
    thicker. Drawn from a normal distribution: `elastic` in pixels, the root mean square by which points move (Simard,
    Steinkraus and Platt 2003).
    """

    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    stroke: float = 0.0

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


class Augmenter:
    """Distorts training images, `images` in number, with random numbers that are drawn for each epoch.

    It computes on `device`; the numbers are drawn on the CPU, so that they are the same everywhere.
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
        field = _affine_field(strengths, self._affine[indices])
        if strengths.elastic:
            noise = strengths.elastic * self._elastic[indices]
            field += self._bells @ noise @ self._bells.mT
        warped = warp(scale(images.to(self.device)), field, "bicubic")
        if strengths.stroke:
            warped = warped ** torch.exp2(strengths.stroke * self._stroke[indices])
        return warped.to(images.device)

    def _draw(self, epoch: int) -> None:
        """Draw the numbers of all images for an epoch: 25 MB for 60,000 with elastic distortion."""
        digest = hashlib.sha256(f"augment {self.seed} {epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4]))  # torch takes 32 bits of a seed
        affine = torch.rand(self.images, 6, generator=generator) * 2 - 1
        nodes = _NODES if self.augmentation.elastic else 0
        elastic = torch.randn(self.images, 2, nodes, nodes, generator=generator)
        stroke = torch.rand(self.images, 1, 1, 1, generator=generator) * 2 - 1
        self._affine, self._elastic, self._stroke = (numbers.to(self.device) for numbers in (affine, elastic, stroke))
        self._epoch = epoch


def _affine_field(strengths: Augmentation, numbers: Float[Tensor, "n 6"]) -> Field:
    """Return the field for six numbers in -1 to 1: rotation, width, height, shear, shift right, shift down."""
    turn, wide, high, shear, right, down = numbers.unbind(dim=1)
    angle = torch.deg2rad(turn * strengths.turn)
    cos, sin = angle.cos(), angle.sin()
    wide, high = 1 / (1 + wide * strengths.scale), 1 / (1 + high * strengths.scale)
    lean = shear * strengths.shear
    to_right = [wide * (cos - lean * sin) - 1, wide * (sin + lean * cos), -strengths.shift * right]
    to_below = [-high * sin, high * cos - 1, -strengths.shift * down]  # turned back, sheared back, scaled back
    own = torch.arange(SIDE, dtype=torch.float32, device=numbers.device) - (SIDE - 1) / 2
    x, y = torch.meshgrid(own, own, indexing="xy")
    place = torch.stack([x, y, torch.ones_like(x)]).view(3, SIDE * SIDE)
    return (torch.stack(to_right + to_below, dim=1).view(-1, 3) @ place).view(-1, 2, SIDE, SIDE)


def _bells() -> Float[Tensor, "28 nodes"]:
    """Return what makes noise a smooth field, along each axis. Of standard normal noise its RMS is one pixel."""
    nodes = (torch.arange(_NODES) + 0.5) * SIDE / _NODES - 0.5
    bells = torch.exp(-((torch.arange(SIDE)[:, None] - nodes) ** 2) / (2 * _SMOOTHNESS**2))
    return bells.div_(bells.norm(dim=1, keepdim=True) * 2**0.25)  # no pixel moves more than another, along both axes 1
