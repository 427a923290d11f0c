"""How torch computes the networks: memory layouts, oneDNN, float32. Speed only; figures: benchmarks/README.md."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


def forward_fast(net: nn.Sequential, images: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch 10"]:
    """Compute `net(images)` in the memory layout that is fastest here.

    Training on the CPU runs in oneDNN's own layout, whose max pooling keeps a byte per output instead of an int64
    index. Everything else runs in channels_last.
    """
    if not (net.training and _onednn_computes(net, images)):
        channels_last = images.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)
        return cast(Tensor, net(channels_last))
    *convolutions, flatten, dense = net
    x = images.to_mkldnn()
    for layer in convolutions:
        x = layer(x)
    return cast(Tensor, dense(flatten(x.to_dense())))


def _onednn_computes(net: nn.Sequential, images: Tensor) -> bool:
    """Whether oneDNN has all layers, in float32 on the CPU: it lacks the padding of stride 2."""
    plain = images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    has_all = isinstance(net[0], nn.Conv2d) and net[0].stride == (1, 1)
    return plain and has_all and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def use_float32() -> None:
    """Keep convolutions on a GPU from rounding to TF32; +trainer.precision=bf16-mixed asks for other numbers."""
    torch.backends.cudnn.allow_tf32 = False
