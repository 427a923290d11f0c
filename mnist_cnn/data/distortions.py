"""Images shifted, turned and elastically distorted, to measure robustness.

The result depends only on the strength and the images' order, so that two networks see the same pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from mnist_cnn.data.images import SIDE, scale
from mnist_cnn.data.warp import SMOOTHNESS, Displacement, bell, centred_grid, warp


def distort(images: UInt8[Tensor, "n 1 28 28"], kind: str, strength: float) -> UInt8[Tensor, "n 1 28 28"]:
    """Return the images distorted by a kind and a strength of STRENGTHS. Pixels from outside the image are black."""
    moved = warp(scale(images), _DISPLACEMENTS[kind](len(images), strength).to(images.device))
    return (255 * moved).round().to(torch.uint8)


def _shift(n: int, pixels: float) -> Displacement:
    """Move every fourth image right, down, left and up."""
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    return (-pixels * directions[torch.arange(n) % 4])[:, :, None, None].expand(n, 2, SIDE, SIDE)


def _turn(n: int, degrees: float) -> Displacement:
    """Turn images around the centre, alternately clockwise and counter-clockwise."""
    angle = torch.deg2rad(torch.tensor(degrees)) * (1 - 2 * (torch.arange(n) % 2))
    x, y = centred_grid()
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return torch.stack([cos * x + sin * y - x, cos * y - sin * x - y], dim=1)


def _elastic(n: int, pixels: float) -> Displacement:
    """Move each pixel by smoothed random noise; `pixels` is the root mean square within each image."""
    noise = torch.rand(n * 2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reach = int(3 * SMOOTHNESS)
    kernel = bell(torch.arange(-reach, reach + 1.0))
    across = F.conv2d(noise, kernel[None, None, None], padding=(0, reach))
    smooth = F.conv2d(across, kernel[None, None, :, None], padding=(reach, 0)).reshape(n, 2, SIDE, SIDE)
    size = smooth.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()
    return pixels * smooth / size


_DISPLACEMENTS: dict[str, Callable[[int, float], Displacement]] = {"shift": _shift, "turn": _turn, "elastic": _elastic}
