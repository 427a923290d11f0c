"""A device whose memory is not the host's, made in Python: what fails between a GPU and the host fails here too.

Tensors on DEVICE hold a CPU tensor that computes for them. As on CUDA, numpy cannot read them, and an operation takes
no CPU tensor of one or more dimensions beside them, except to copy it. Every kernel and every crossing is counted.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

try:  # torch has it for backends in Python, but promises nothing
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as register_backend
except ImportError:
    pytest.skip("this torch cannot register a device in Python", allow_module_level=True)

register_backend("away")
DEVICE, CPU, aten = torch.device("away", 0), torch.device("cpu"), torch.ops.aten
_INDEXING = {aten.index, aten.index_put_, aten._index_put_impl_}  # copy indices that lie on the CPU
_COPYING = {aten.copy_, aten._to_copy}
_WAITING = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select}  # for the device
_FREE = {aten.detach, aten.empty_like, aten.alias}  # start no kernel

kernels, crossings = Counter[str](), Counter[str]()  # crossings: to the device, to the host, waits for it


class Away(Tensor):
    """A tensor on DEVICE; `host` holds its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Any:
        shape = host.shape, host.stride(), host.storage_offset()
        made = torch.Tensor._make_wrapper_subclass(cls, *shape, dtype=host.dtype, device=DEVICE)  # type: ignore[attr-defined]
        made.host = host
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:  # a checkpoint has the values
        return self.host.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func.overloadpacket
        on_cpu = any(type(leaf) is Tensor and leaf.dim() for leaf in tree_leaves((args, kwargs)))
        if on_cpu and packet not in _INDEXING | _COPYING:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} was given one on the CPU")
        copies_to_cpu = packet is aten.copy_ and type(args[0]) is Tensor
        to_host = copies_to_cpu or torch.device(kwargs.get("device") or DEVICE) == CPU
        _count(func, on_cpu, to_host)
        inner = tree_map_only(Away, lambda each: each.host, (args, kwargs))
        inner = tree_map(lambda each: CPU if isinstance(each, torch.device) else each, inner)
        out = func(*inner[0], **inner[1])
        if to_host:
            return args[0] if copies_to_cpu else out
        return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, Away, out))


def _count(func: Any, on_cpu: bool, to_host: bool) -> None:
    packet = func.overloadpacket
    if packet in _WAITING or to_host:
        crossings["to the host"] += 1
    elif on_cpu:
        crossings["to the device"] += 1
    elif packet not in _FREE and not func.is_view:
        kernels[str(packet)] += 1


def _implement(name: str, function: Any) -> None:
    torch.library.impl(f"aten::{name}", "privateuseone")(function)


def _copy_from(source: Any, to: Any, non_blocking: bool = False) -> Any:
    if isinstance(source, Away) != isinstance(to, Away):
        crossings["to the device" if isinstance(to, Away) else "to the host"] += 1
    getattr(to, "host", to).copy_(getattr(source, "host", source))
    return to


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Any:
    return Away(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Any:
    return Away(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


_implement("_copy_from", _copy_from)  # torch.tensor(..., device=)
_implement("empty.memory_format", _empty)
_implement("empty_strided", _empty_strided)
_implement("arange", lambda end, *, dtype=None, **_: Away(torch.arange(end, dtype=dtype)))
