import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_cnn.errors import InputError
from mnist_cnn.model.nets import ConvNet, DenseNet, fold
from mnist_cnn.model.registry import build_net, outline_net
from mnist_cnn.schema import PADDINGS, POOLINGS
from tests.recipes import IMAGES


def parameters(net: nn.Module) -> int:
    return sum(weights.numel() for weights in net.parameters())


def test_the_notebooks_net_has_104202_parameters() -> None:
    assert parameters(ConvNet()) == 104_202


def test_same_padding_has_155402_parameters() -> None:
    assert parameters(ConvNet(padding="same")) == 155_402


def test_without_pooling_there_are_712202_parameters() -> None:
    assert parameters(ConvNet(pooling="none")) == 712_202


def test_dense_net_has_a_weight_per_pixel_and_unit() -> None:
    assert parameters(DenseNet(512)) == 784 * 512 + 512 + 512 * 10 + 10


def test_dense_net_is_one_hidden_layer_with_relu() -> None:
    net, x = DenseNet(7), torch.rand(3, 1, 28, 28)
    hidden = F.relu(x.flatten(1) @ net.dense1.weight.T + net.dense1.bias)
    torch.testing.assert_close(net(x), hidden @ net.dense.weight.T + net.dense.bias)


@pytest.mark.parametrize(("padding", "pooling"), [*itertools.product(PADDINGS, POOLINGS)])
def test_every_variant_gives_ten_logits(padding: str, pooling: str) -> None:
    assert ConvNet(padding, pooling)(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_net_computes_what_the_notebook_describes(pooling: str) -> None:
    net, x = ConvNet(pooling=pooling), torch.rand(8, 1, 28, 28)
    pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
    y = x
    for number in (1, 2, 3):  # the notebook's order: convolution, ReLU, pooling
        layer = net.get_submodule(f"conv{number}")
        y = F.relu(F.conv2d(y, layer.weight, layer.bias))
        y = pool(y, 2) if number < 3 else y
    assert torch.equal(net(x), F.linear(y.flatten(1), net.dense.weight, net.dense.bias))


def test_same_padding_with_stride_pads_as_tensorflow_does() -> None:
    net, x = ConvNet("same", "stride"), torch.rand(1, 1, 28, 28)
    # TensorFlow: total = (ceil(28 / 2) - 1) * 2 + 3 - 28 = 1, of which 1 // 2 = 0 before and 1 after
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), net.conv1.weight, net.conv1.bias, stride=2)
    assert torch.equal(net.conv1(net.pad1(x)), expected)
    assert net.dense.in_features == 128 * 7 * 7
    odd = ConvNet("same", "stride", [4] * 4)  # 28, 14, 7, 4
    assert odd(x).shape == (1, 10)
    assert odd.dense.in_features == 4 * 4 * 4


def test_kernels_are_glorot_uniform_and_biases_zero() -> None:
    torch.manual_seed(0)
    weights = torch.cat([ConvNet().conv3.weight.flatten() for _ in range(20)])
    limit = (6 / (9 * 64 + 9 * 128)) ** 0.5
    assert 0.999 * limit < weights.abs().max() <= limit
    assert weights.var().item() == pytest.approx(limit**2 / 3, rel=0.01)
    assert all(not bias.any() for name, bias in ConvNet().named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "foo"}, "padding=foo is not known: choose one of valid, same"),
        ({"padding": "vaild"}, "did you mean valid"),
        ({"pooling": "mean"}, "pooling=mean is not known"),
        ({"channels": []}, "give a list of 1 to 8"),
        ({"channels": [8] * 9}, "give a list of 1 to 8"),
        ({"channels": [8] * 5}, "layer 4 has no pixels left"),
        ({"name": "os.system"}, "the network os.system is not imported because a file names it"),
        ({"units": 3}, "model conv has no option units: it has padding, pooling, channels"),
    ],
)
def test_a_net_that_cannot_be_built_is_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_net(**options)


def test_an_outline_takes_no_memory() -> None:
    assert {weights.device.type for weights in outline_net("dense", hidden=10**9).parameters()} == {"meta"}


@pytest.mark.parametrize(("padding", "pooling"), [("valid", "max"), ("same", "stride")])
def test_torch_export_takes_the_net(padding: str, pooling: str) -> None:
    net, x = ConvNet(padding, pooling).eval(), torch.rand(2, 1, 28, 28)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: batch},)).module()
    more = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(exported(more), net(more))


def test_torch_compile_takes_the_net() -> None:
    net, x = ConvNet(), torch.rand(2, 1, 28, 28)
    compiled = torch.compile(net, backend="aot_eager")  # the default backend needs a C++ compiler
    torch.testing.assert_close(compiled(x), net(x))


def test_onnx_takes_the_net(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")
    net, x = ConvNet().eval(), torch.rand(2, 1, 28, 28)
    torch.onnx.export(net, (x,), tmp_path / "net.onnx", dynamo=True)
    (logits,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), net(x), atol=1e-5, rtol=1e-4)


def test_slices_of_a_network_are_its_layers() -> None:
    assert [*dict(ConvNet()[:2].named_children())] == ["conv1", "pool1"]
    assert len(DenseNet()[:-1]) == 3
    assert isinstance(ConvNet()[-1], nn.Linear)


def test_folding_dropout_and_normalization_changes_no_answer() -> None:
    net = ConvNet(channels=[4, 8], dropout=0.5, norm="batch").train()
    for _ in range(3):
        net(torch.rand(8, 1, 28, 28))
    plain = fold(net)
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.Dropout) for layer in plain)
    torch.testing.assert_close(plain(IMAGES / 255), net.eval()(IMAGES / 255))
