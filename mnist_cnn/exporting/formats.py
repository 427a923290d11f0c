"""The three file formats: a network as the bytes of a file, and such bytes as a function from images to logits."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mnist_cnn.cli import available_cores
from mnist_cnn.data.images import SIDE, scale

_OPSET = 18  # of ONNX, fixed: the default depends on the version of torch

Runner = Callable[[Shaped[Tensor, "batch 1 28 28"]], Float[Tensor, "batch classes"]]


class Source(NamedTuple):
    """A network, the type of the images that the exported one is to take, and what ONNX is to tell about it."""

    net: nn.Module
    dtype: torch.dtype  # float32 (0-1) or uint8 (0-255)
    metadata: Mapping[str, str]


class Format(NamedTuple):
    """How a format is written and read, and the library that reads it."""

    library: str
    write: Callable[[Source], bytes]
    read: Callable[[bytes, Source], Runner]


class _FromPixels(nn.Module):
    """The network with the scaling of bytes before it. Floats stay as they are."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(scale(images))  # type: ignore[no-any-return]  # of an nn.Module anything may come


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within this context neither warnings nor the log of a library reach the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _to_program(source: Source) -> torch.export.ExportedProgram:
    """Trace the network for any batch size. The program does not name the files of this machine."""
    example = torch.zeros(2, 1, SIDE, SIDE, dtype=source.dtype)  # a batch of 1 would be taken for a constant
    module, batch = _FromPixels(source.net).eval(), torch.export.Dim("batch")
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _write_onnx(source: Source) -> bytes:
    program = torch.onnx.export(
        _to_program(source),
        dynamo=True,
        dynamic_shapes=({0: "batch"},),  # the axis's name
        input_names=["images"],
        output_names=["logits"],
        opset_version=_OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(source.metadata)
    return program.model_proto.SerializeToString()  # type: ignore[no-any-return]  # the weights are inside


def _read_onnx(content: bytes, source: Source) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = available_cores()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _write_pt2(source: Source) -> bytes:
    content = io.BytesIO()
    torch.export.save(_to_program(source), content)
    return content.getvalue()


def _read_pt2(content: bytes, source: Source) -> Runner:
    return torch.export.load(io.BytesIO(content)).module()


def _write_safetensors(source: Source) -> bytes:
    from safetensors.torch import save

    weights = {name: each.contiguous() for name, each in source.net.state_dict().items()}  # it refuses channels_last
    return save(weights, {"format": "pt"})


def _read_safetensors(content: bytes, source: Source) -> Runner:
    from safetensors.torch import load

    net = deepcopy(source.net)
    net.load_state_dict(load(content), assign=True)
    return net.eval()


FORMATS = {
    ".onnx": Format("onnxruntime", _write_onnx, _read_onnx),
    ".pt2": Format("torch.export", _write_pt2, _read_pt2),
    ".safetensors": Format("torch", _write_safetensors, _read_safetensors),
}
