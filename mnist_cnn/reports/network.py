"""What a network computes on the way to its answer: kernels, response maps, and the evidence in an image."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mnist_cnn.data.images import SIDE, scale
from mnist_cnn.model.backend import forward
from mnist_cnn.model.nets import fold

_PATCH = 5  # pixels


class ResponseMaps(NamedTuple):
    """What a convolution and its ReLU make of an image: one map per filter."""

    layer: str
    maps: Float[Tensor, "filters height width"]


@torch.no_grad()
def response_maps(net: nn.Module, image: UInt8[Tensor, "1 28 28"]) -> list[ResponseMaps]:
    """Return the maps of every convolution, after ReLU and before pooling; nothing for a network without any."""
    x, found = scale(image)[None], []
    for name, layer in fold(net).named_children() if isinstance(net, nn.Sequential) else ():
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            found.append(ResponseMaps(name, x[0].relu()))
    return found


def first_kernels(net: nn.Module) -> Float[Tensor, "filters 3 3"] | None:
    """Return the kernels of the first convolution, which are applied to the image itself; None if there is none."""
    layers = fold(net) if isinstance(net, nn.Sequential) else ()
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    return None if first is None else first.weight.detach()[:, 0]


@torch.no_grad()
def evidence(net: nn.Module, image: UInt8[Tensor, "1 28 28"], label: int) -> Float[Tensor, "28 28"]:
    """Return, for each pixel, how much the logit of `label` falls when 5x5 pixels around it are made black.

    Positive: what is there speaks for that class. (Occlusion: Zeiler and Fergus 2014, section 4.)
    """
    x = scale(image)
    near_ink = F.max_pool2d(x, _PATCH, stride=1, padding=_PATCH // 2)[0] > 0  # elsewhere a black patch changes nothing
    places = near_ink.nonzero()
    patches = x.new_zeros(len(places), 1, SIDE, SIDE)
    patches[torch.arange(len(places), device=x.device), 0, places[:, 0], places[:, 1]] = 1
    covered = x * (1 - F.max_pool2d(patches, _PATCH, stride=1, padding=_PATCH // 2))
    logits = forward(net, torch.cat([x[None], covered]))[:, label]
    fall = x.new_zeros(SIDE, SIDE)
    fall[near_ink] = logits[0] - logits[1:]
    return fall
