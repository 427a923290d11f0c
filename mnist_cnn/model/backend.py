"""How torch computes the networks: memory layouts, oneDNN, float32, devices. Measurements: benchmarks/README.md."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnist_cnn.errors import InputError, RunError
from mnist_cnn.model.nets import Layers

# how errors of drivers, GPU libraries and memory begin; most have no type of their own
_DEVICE_ERRORS = re.compile(
    r"CUDA |cuDNN|CUDNN_|CUBLAS_|cuBLAS|NCCL|MPS backend|The NVIDIA driver|Found no NVIDIA|No CUDA GPUs|"
    r"Unexpected error from cuda|GET was unable to find an engine|.*DefaultCPUAllocator: can't allocate"
)


def forward(net: nn.Module, images: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch classes"]:
    """Compute `net(images)`: our own networks in channels_last, which is faster on all devices but MPS.

    A network of yours gets the plain layout: it may call `view`.
    """
    if images.device.type == "mps" or not isinstance(net, Layers):
        return cast(Tensor, net(images))
    return cast(Tensor, net(images.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)))


def forward_fast(net: nn.Module, images: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch classes"]:
    """Compute `net(images)` in the fastest memory layout. Only for our own training loop.

    Training on the CPU uses oneDNN's own layout, whose max pooling stores a byte per output instead of an int64 index.
    Hooks on the layers, tracing and second derivatives do not work with it.
    """
    if not (net.training and _supports_onednn(net, images)):
        return forward(net, images)
    x = images.to_mkldnn()
    for layer in cast(nn.Sequential, net):
        x = layer(x.to_dense() if isinstance(layer, nn.Flatten) else x)
    return x


def _supports_onednn(net: nn.Module, images: Tensor) -> bool:
    """Whether oneDNN supports all layers up to the first Flatten, in float32 on the CPU without anomaly detection."""
    plain = images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not plain or torch.is_anomaly_enabled() or not isinstance(net, nn.Sequential):
        return False
    layers = list(takewhile(lambda layer: type(layer) is not nn.Flatten, net))
    known = any(isinstance(layer, nn.Conv2d) for layer in layers) and all(map(_is_in_onednn, layers))
    return known and len(layers) < len(net) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _is_in_onednn(layer: nn.Module) -> bool:
    """Whether oneDNN supports this layer: not the padding of stride 2, nor subclasses, which may do anything."""
    if type(layer) is nn.Conv2d:
        return layer.stride == layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    if type(layer) in (nn.MaxPool2d, nn.AvgPool2d):
        return repr(layer) == repr(type(layer)(2))
    return type(layer) is nn.ReLU and not layer.inplace


def move(net: nn.Module, device: torch.device) -> nn.Module:
    """Move a network, or its classifier, to a device. On a GPU kernels are in channels_last, as images are."""
    if device.type in ("cpu", "mps") or not isinstance(getattr(net, "net", net), Layers):
        return net.to(device)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Within this context, a network computes as at inference. Afterwards each module has its mode back."""
    in_training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


def use_exact_kernels(deterministic: bool = True) -> None:
    """Disable TF32 in cuDNN and, if `deterministic`, its non-deterministic kernels."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = deterministic


def choose_device(name: str) -> torch.device:
    """Return the device with this name: auto is a GPU if there is one, otherwise the CPU.

    Raises InputError if torch finds no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in there.items() if is_there))
    if not there[name]:
        raise InputError(f"--device {name} is not available: torch finds no such device on this machine")
    return torch.device(name)


@contextmanager
def device_errors(remedy: str) -> Iterator[None]:
    """Within this context, an error of the device, such as out of memory, becomes a RunError of one line.

    So does the death of another process of the training.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, getattr(torch.distributed, "DistError", ())) or "/gloo/" in str(error):
            reason = "another process of this training died or does not answer"
            raise RunError(f"{reason}: the last checkpoint is intact; run the same command to resume") from error
        known = isinstance(error, MemoryError | torch.OutOfMemoryError | torch.AcceleratorError)
        if not known and not _DEVICE_ERRORS.match(str(error)):
            raise
        said = re.sub(r"\[enforce fail.*?\] .*?\. ", "", str(error).partition("\n")[0])  # the place in torch's source
        reason = ". ".join(said.split(". ")[:2]).removesuffix(".") or "out of memory"
        raise RunError(f"the device failed: {reason}: {remedy}") from error
