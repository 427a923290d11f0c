import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.pictures import scale
from mnist_cnn.errors import InputError
from mnist_cnn.model.nets import PADDINGS, POOLINGS, ConvNet, DenseNet, build_net, layer_rows, layer_table


def parameters(net: torch.nn.Module) -> int:
    return sum(weights.numel() for weights in net.parameters())


def test_the_notebooks_net_has_104202_parameters() -> None:
    assert parameters(ConvNet()) == 104_202


def test_same_padding_has_155402_parameters() -> None:
    assert parameters(ConvNet(padding="same")) == 155_402


def test_without_pooling_there_are_712202_parameters() -> None:
    assert parameters(ConvNet(pooling="none")) == 712_202


def test_dense_net_has_a_parameter_per_pixel_and_unit() -> None:
    assert parameters(DenseNet(512)) == 784 * 512 + 512 + 512 * 10 + 10


@pytest.mark.parametrize(
    ("padding", "shapes"),
    [
        ("valid", [(32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 5, 5), (128, 3, 3), (1152,), (10,)]),
        ("same", [(32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (128, 7, 7), (6272,), (10,)]),
    ],
)
def test_layer_shapes_are_the_notebooks(padding: str, shapes: list[tuple[int, ...]]) -> None:
    rows = layer_rows(ConvNet(padding))
    assert [row.shape for row in rows] == shapes
    assert [row.parameters for row in rows if row.parameters][:3] == [320, 18_496, 73_856]


def test_layer_table_ends_with_the_total_in_kilobytes() -> None:
    assert layer_table(ConvNet()).splitlines()[-1] == "total: 104,202 parameters (407.04 KB)"


@pytest.mark.parametrize(("padding", "pooling"), [*itertools.product(PADDINGS, POOLINGS)])
def test_every_variant_gives_ten_logits(padding: str, pooling: str) -> None:
    assert ConvNet(padding, pooling)(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_pooling_before_relu_changes_nothing() -> None:
    net = ConvNet()
    x = torch.rand(8, 1, 28, 28)
    y = x
    for number in (1, 2, 3):  # the notebook's order: convolution, ReLU, pooling
        layer = net.get_submodule(f"conv{number}")
        y = F.relu(F.conv2d(y, layer.weight, layer.bias))
        y = F.max_pool2d(y, 2) if number < 3 else y
    expected = F.linear(y.flatten(1), net.dense.weight, net.dense.bias)
    assert torch.equal(net(x), expected)


def test_same_padding_with_stride_pads_as_tensorflow_does() -> None:
    net = ConvNet("same", "stride")
    x = torch.rand(1, 1, 28, 28)
    # TensorFlow: total = (ceil(28 / 2) - 1) * 2 + 3 - 28 = 1, of which 1 // 2 = 0 before and 1 after
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), net.conv1.weight, net.conv1.bias, stride=2)
    assert torch.equal(net.conv1(net.pad1(x)), expected)
    assert layer_rows(net)[-2].shape == (6272,)
    assert ConvNet("same", "stride", [4] * 4)(x).shape == (1, 10)  # 28, 14, 7, 4: an odd side too
    assert layer_rows(ConvNet("same", "stride", [4] * 4))[-2].shape == (4 * 4 * 4,)


def test_kernels_are_glorot_uniform_and_biases_zero() -> None:
    torch.manual_seed(0)
    weights = torch.cat([ConvNet().conv3.weight.flatten() for _ in range(20)])
    limit = (6 / (9 * 64 + 9 * 128)) ** 0.5
    assert weights.abs().max() <= limit
    assert weights.abs().max() > 0.999 * limit
    assert weights.var().item() == pytest.approx(limit**2 / 3, rel=0.01)
    assert all(not bias.any() for name, bias in ConvNet().named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "foo"}, "model.padding=foo is not known: give one of valid, same"),
        ({"padding": "vaild"}, "did you mean valid"),
        ({"pooling": "mean"}, "model.pooling=mean is not known"),
        ({"channels": []}, "give a list of 1 to 8"),
        ({"channels": [32, 0]}, "whole number from 1 to 4096"),
        ({"channels": [8] * 5}, "layer 4 has no pixels left"),
        ({"name": "os.system"}, "model.name=os.system is not known: give one of conv, dense"),
        ({"hidden": 3}, "hidden is not known"),
        ({"name": "dense", "hidden": 5000}, "whole number from 1 to 4096"),
    ],
)
def test_what_cannot_be_built_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_net(**options)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pooling", ["max", "average", "stride", "none"])
def test_training_in_onednns_layout_gives_the_same_gradients(padding: str, pooling: str, sample: Dataset) -> None:
    torch.manual_seed(0)
    net = ConvNet(padding, pooling)
    images, labels = scale(sample.train.images[:32]), sample.train.labels[:32]

    def gradients(training: bool) -> Iterator[Tensor]:
        net.train(training).zero_grad()
        F.cross_entropy(net(images), labels).backward()
        return (weights.grad for weights in net.parameters() if weights.grad is not None)

    for onednn, plain in zip(list(gradients(training=True)), gradients(training=False), strict=True):
        assert (onednn - plain).norm() < 1e-5 * plain.norm()
