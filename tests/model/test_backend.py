import re
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.images import scale
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.model.backend import choose_device, device_errors, forward_fast, move, use_exact_kernels
from mnist_cnn.model.nets import ConvNet, DenseNet


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


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Note what each convolution is given: whether it is in oneDNN's layout, and whether in channels_last."""
    seen = []

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        seen.append((x.is_mkldnn, not x.is_mkldnn and x.is_contiguous(memory_format=torch.channels_last)))
        return real(self, x)

    real = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return seen


def build(*features: nn.Module, head: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), *features, nn.Flatten(), head or nn.LazyLinear(10))


@pytest.mark.parametrize(
    ("net", "onednn"),
    [
        (ConvNet(), True),
        (ConvNet("same", "average"), True),
        (ConvNet("same", "stride"), False),  # oneDNN lacks its padding
        (build(head=nn.Sequential(nn.Dropout(), nn.LazyLinear(20), nn.ReLU(), nn.Linear(20, 10))), True),
        (build(nn.Dropout()), False),
        (build(nn.BatchNorm2d(4)), False),
        (build(nn.LeakyReLU()), False),
        (build(nn.ReLU(inplace=True)), False),
        (build(nn.MaxPool2d(3, 2)), False),
        (build(nn.Sequential(nn.MaxPool2d(2), nn.Dropout())), False),
        (build(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")), False),
        (nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), False),
    ],
)
def test_a_network_trains_in_onednns_layout_only_if_onednn_has_all_its_layers(
    net: nn.Sequential, onednn: bool, layouts: list[tuple[bool, bool]]
) -> None:
    logits = forward_fast(net, torch.rand(2, 1, 28, 28))
    F.cross_entropy(logits, torch.tensor([3, 7])).backward()
    assert layouts[0] == (onednn, not onednn)
    assert all(weights.grad is not None for weights in net.parameters())


@pytest.mark.parametrize(("training", "dtype"), [(False, torch.float32), (True, torch.float64)])
def test_all_but_training_in_float32_runs_in_channels_last(
    training: bool, dtype: torch.dtype, layouts: list[tuple[bool, bool]]
) -> None:
    logits = forward_fast(ConvNet().to(dtype).train(training), torch.rand(2, 1, 28, 28, dtype=dtype))
    assert layouts[0] == (False, True)
    assert logits.dtype == dtype


def test_the_fast_forward_accepts_a_network_that_is_no_sequential() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(784, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(x.flatten(1))

    assert forward_fast(Own(), torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_detect_anomaly_works() -> None:
    with torch.autograd.set_detect_anomaly(True):  # it asks for NaN, which oneDNN's layout cannot answer
        forward_fast(ConvNet(), torch.rand(2, 1, 28, 28)).sum().backward()


def test_autocast_is_left_to_torch() -> None:
    net = ConvNet()
    with torch.autocast("cpu", torch.bfloat16):
        assert forward_fast(net, torch.rand(2, 1, 28, 28)).dtype == torch.bfloat16


def test_the_fast_forward_accepts_a_network_without_convolutions() -> None:
    net, images = DenseNet(8), torch.rand(2, 1, 28, 28)
    assert torch.equal(forward_fast(net, images), net(images))


def test_convolutions_on_a_gpu_keep_float32_and_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for flag in ("allow_tf32", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, flag, flag == "allow_tf32")
    use_exact_kernels()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == (False, True)
    use_exact_kernels(deterministic=False)
    assert not torch.backends.cudnn.deterministic


def test_the_cpu_is_chosen_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device cuda is not available: torch finds no such device"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")


OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by ..."
MEMORY = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1.00 GiB of which ..."
ACCESS = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later"
CPU = "[enforce fail at alloc_cpu.cpp:130] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError(MEMORY), "CUDA out of memory. Tried to allocate 20.00 GiB: try less"),
        (torch.AcceleratorError(ACCESS), "CUDA error: an illegal memory access was encountered: try less"),
        (RuntimeError(OLD_DRIVER), "is too old (found version 11040). Please update"),
        (RuntimeError("CUDNN_STATUS_NOT_INITIALIZED"), "CUDNN_STATUS_NOT_INITIALIZED: try less"),
        (RuntimeError(CPU), "DefaultCPUAllocator: can't allocate memory: you tried: try less"),
        (MemoryError(), "the device failed: out of memory: try less"),
    ],
)
def test_an_error_of_the_device_is_one_line_with_what_to_try(error: Exception, said: str) -> None:
    with pytest.raises(RunError, match=re.escape(said)), device_errors("try less"):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("Could not run 'aten::x' from the 'CUDA' backend"), ValueError("CUDA ")]
)
def test_other_errors_are_not_converted(error: Exception) -> None:
    with pytest.raises(type(error)), device_errors("try less"):
        raise error


def test_on_a_gpu_weights_and_their_gradients_lie_as_the_images_do() -> None:
    net = ConvNet()
    on_meta = move(net, torch.device("meta"))
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in on_meta.parameters() if part.ndim == 4)
    assert all(part.is_contiguous() for part in move(ConvNet(), torch.device("cpu")).parameters())
