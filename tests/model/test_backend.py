from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.images import scale
from mnist_cnn.model.backend import forward_fast, use_float32
from mnist_cnn.model.nets import ConvNet, DenseNet


class Layouts(nn.Conv2d):
    """Notes the memory layout of what it is given."""

    seen: tuple[bool, bool]

    def forward(self, x: Tensor) -> Tensor:
        last = not x.is_mkldnn and x.is_contiguous(memory_format=torch.channels_last)
        self.seen = (x.is_mkldnn, last)
        return super().forward(x)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pooling", ["max", "average", "stride", "none"])
def test_the_fast_layouts_give_the_same_gradients(padding: str, pooling: str, sample: Dataset) -> None:
    torch.manual_seed(0)
    net = ConvNet(padding, pooling)
    images, labels = scale(sample.train.images[:32]), sample.train.labels[:32]

    def gradients(logits: Tensor) -> Iterator[Tensor]:
        net.zero_grad()
        F.cross_entropy(logits, labels).backward()
        return (weights.grad.clone() for weights in net.parameters() if weights.grad is not None)

    for fast, plain in zip(list(gradients(forward_fast(net, images))), gradients(net(images)), strict=True):
        assert (fast - plain).norm() < 1e-5 * plain.norm()


@pytest.mark.parametrize(
    ("training", "dtype", "stride", "onednn"),
    [
        (True, torch.float32, 1, True),
        (False, torch.float32, 1, False),
        (True, torch.float64, 1, False),
        (True, torch.float32, 2, False),  # oneDNN lacks the padding of stride 2
    ],
)
def test_training_runs_in_onednns_layout_and_all_else_in_channels_last(
    training: bool, dtype: torch.dtype, stride: int, onednn: bool
) -> None:
    first = Layouts(1, 4, 3, stride=stride)
    net = nn.Sequential(first, nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(10)).to(dtype).train(training)
    logits = forward_fast(net, torch.rand(2, 1, 28, 28, dtype=dtype))
    assert first.seen == (onednn, not onednn)
    assert logits.dtype == dtype


def test_autocast_is_left_to_torch() -> None:
    net = ConvNet()
    with torch.autocast("cpu", torch.bfloat16):
        assert forward_fast(net, torch.rand(2, 1, 28, 28)).dtype == torch.bfloat16


def test_a_net_without_convolutions_is_computed_too() -> None:
    net, images = DenseNet(8), torch.rand(2, 1, 28, 28)
    assert torch.equal(forward_fast(net, images), net(images))


def test_convolutions_on_a_gpu_keep_float32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    use_float32()
    assert not torch.backends.cudnn.allow_tf32
