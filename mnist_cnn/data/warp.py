"""Images resampled: every pixel of the result looks up its source."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mnist_cnn.data.images import SIDE

# for each pixel of the result, the distance to its source in pixels: to the right, and down
Displacement = Float[Tensor, "n 2 28 28"]
SMOOTHNESS = 4.0  # pixels: sigma of the Gaussian that smooths elastic noise (Simard, Steinkraus and Platt 2003)


def warp(
    images: Float[Tensor, "n 1 28 28"], displacement: Displacement, mode: str = "bilinear"
) -> Float[Tensor, "n 1 28 28"]:
    """Move the pixels of images, 0-1. Pixels from outside the image are black.

    `mode`: bilinear, or bicubic, which blurs less.
    """
    own = torch.arange(SIDE, dtype=torch.float32, device=displacement.device)
    position = torch.stack(torch.meshgrid(own, own, indexing="xy"))
    grid = (position + displacement) * (2 / (SIDE - 1)) - 1  # grid_sample expects -1 to 1
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode, align_corners=True).clamp(0, 1)


def centred_grid(device: torch.device | None = None) -> tuple[Float[Tensor, "28 28"], Float[Tensor, "28 28"]]:
    """Return each pixel's x and y, measured from the centre of the image."""
    own = torch.arange(SIDE, dtype=torch.float32, device=device) - (SIDE - 1) / 2
    x, y = torch.meshgrid(own, own, indexing="xy")
    return x, y


def bell(distance: Tensor) -> Tensor:
    """Return the height of the smoothing Gaussian at a distance in pixels."""
    return torch.exp(-(distance**2) / (2 * SMOOTHNESS**2))
