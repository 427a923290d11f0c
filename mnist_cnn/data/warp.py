"""Images resampled: every pixel of the result looks up its source."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mnist_cnn.data.images import SIDE

Field = Float[Tensor, "n 2 28 28"]  # for each pixel of the result, pixels to its source: to the right, and down


def warp(images: Float[Tensor, "n 1 28 28"], field: Field, mode: str = "bilinear") -> Float[Tensor, "n 1 28 28"]:
    """Return the images, 0-1, with each pixel taken from where `field` points, in pixels.

    What leaves the picture is lost; what enters it is black. `mode`: bilinear, or bicubic, which blurs less.
    """
    own = torch.arange(SIDE, dtype=torch.float32, device=field.device)
    place = torch.stack(torch.meshgrid(own, own, indexing="xy"))
    grid = (place + field) * (2 / (SIDE - 1)) - 1  # -1 to 1, as torch wants it
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), mode, align_corners=True).clamp(0, 1)
