"""Images shifted, turned and elastically distorted, to measure robustness.

Each is a function of the images' order and a strength alone, so that two networks see the same pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from mnist_cnn.data.images import SIDE, scale
from mnist_cnn.data.warp import Field, warp

_SMOOTHNESS = 4.0  # pixels: sigma of the Gaussian over an elastic field (Simard, Steinkraus and Platt 2003)


def distort(images: UInt8[Tensor, "n 1 28 28"], kind: str, strength: float) -> UInt8[Tensor, "n 1 28 28"]:
    """Return the images distorted by a kind and a strength of STRENGTHS.

    What leaves the picture is lost; what enters it is black.
    """
    moved = warp(scale(images), _FIELDS[kind](len(images), strength).to(images.device))
    return (255 * moved).round().to(torch.uint8)


def _shift(n: int, pixels: float) -> Field:
    """Move every fourth image right, down, left and up."""
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    return (-pixels * directions[torch.arange(n) % 4])[:, :, None, None].expand(n, 2, SIDE, SIDE)


def _turn(n: int, degrees: float) -> Field:
    """Turn one image clockwise, the next counter-clockwise, around the middle."""
    angle = torch.deg2rad(torch.tensor(degrees)) * (1 - 2 * (torch.arange(n) % 2))
    own = torch.arange(SIDE) - (SIDE - 1) / 2
    x, y = torch.meshgrid(own, own, indexing="xy")
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return torch.stack([cos * x + sin * y - x, cos * y - sin * x - y], dim=1)


def _elastic(n: int, pixels: float) -> Field:
    """Move each pixel by a smooth random field; `pixels` is the root of its mean square."""
    noise = torch.rand(n * 2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reach = int(3 * _SMOOTHNESS)
    bell = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * _SMOOTHNESS**2))
    smooth = F.conv2d(
        F.conv2d(noise, bell[None, None, None], padding=(0, reach)), bell[None, None, :, None], padding=(reach, 0)
    )
    field = smooth.reshape(n, 2, SIDE, SIDE)
    size = field.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()
    return pixels * field / size


_FIELDS: dict[str, Callable[[int, float], Field]] = {"shift": _shift, "turn": _turn, "elastic": _elastic}
