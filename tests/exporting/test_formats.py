"""Each format, read in its own runtime, gives torch's digits and logits on real images."""

import io
from collections.abc import Callable

import onnxruntime
import pytest
import torch
from safetensors.torch import load

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.images import scale
from mnist_cnn.exporting.formats import FORMATS, Source
from mnist_cnn.exporting.torch_code import torch_code
from mnist_cnn.model.registry import build_net

OPTIONS = [
    {"name": "conv", "padding": padding, "pooling": pooling, "channels": [5, 7, 11]}
    for padding, pooling in (
        ("valid", "max"), ("same", "average"), ("same", "stride"), ("valid", "stride"), ("same", "none"),
    )
] + [{"name": "dense", "hidden": 13}]  # fmt: skip


def source(options: dict[str, object], dtype: torch.dtype = torch.float32) -> Source:
    torch.manual_seed(0)
    net = build_net(**options).eval()
    for name, weights in net.named_parameters():
        if name.endswith("bias"):  # at zero, a lost bias would not show
            torch.nn.init.normal_(weights, std=0.1)
    return Source(net, dtype, {})


def check(run: Callable[[torch.Tensor], torch.Tensor], made_of: Source, images: torch.Tensor) -> None:
    with torch.no_grad():
        for batch in images.split([1, 7, 100]):
            expected = made_of.net(batch / 255)
            logits = run(batch if made_of.dtype == torch.uint8 else scale(batch))
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
            assert torch.equal(logits.argmax(1), expected.argmax(1))


@pytest.fixture(scope="session")
def images(sample: Dataset) -> torch.Tensor:
    return sample.test.images[:108]


def test_onnx_with_the_scaling_of_bytes_inside(images: torch.Tensor) -> None:
    made_of = source(OPTIONS[2], torch.uint8)
    session = onnxruntime.InferenceSession(FORMATS[".onnx"].write(made_of), providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("images", ["batch", 1, 28, 28], "tensor(uint8)")
    assert (given.name, given.shape, given.type) == ("logits", ["batch", 10], "tensor(float)")
    check(lambda batch: torch.from_numpy(session.run(None, {"images": batch.numpy()})[0]), made_of, images)


@pytest.mark.parametrize("options", OPTIONS)
def test_pt2(options: dict[str, object], images: torch.Tensor) -> None:
    dtype = torch.uint8 if options is OPTIONS[1] else torch.float32
    made_of = source(options, dtype)
    content = FORMATS[".pt2"].write(made_of)
    assert b"site-packages" not in content
    check(torch.export.load(io.BytesIO(content)).module(), made_of, images)


@pytest.mark.parametrize("options", OPTIONS)
def test_safetensors_fit_the_code_in_plain_torch(options: dict[str, object], images: torch.Tensor) -> None:
    made_of = source(options)
    code = f"from collections import OrderedDict\nfrom torch import nn\nnet = {torch_code(made_of.net)}"
    names: dict[str, torch.nn.Module] = {}
    exec(code, names)
    made_of.net.to(memory_format=torch.channels_last)  # as some checkpoints have them
    names["net"].load_state_dict(load(FORMATS[".safetensors"].write(made_of)))
    check(names["net"], made_of, images)
