import pytest
import torch
import torch.nn.functional as F

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.model.nets import ConvNet, DenseNet
from mnist_cnn.reports.network import evidence, first_kernels, response_maps


def test_the_notebooks_network_has_224_response_maps(sample: Dataset) -> None:
    maps = response_maps(ConvNet(), sample.test.images[0])
    assert [(layer, tuple(each.shape)) for layer, each in maps] == [
        ("conv1", (32, 26, 26)), ("conv2", (64, 11, 11)), ("conv3", (128, 3, 3)),
    ]  # fmt: skip


def test_the_next_layer_sees_the_maps_pooled(sample: Dataset) -> None:
    net, image = ConvNet(), sample.test.images[0]
    first, second, third = (maps for _, maps in response_maps(net, image))
    torch.testing.assert_close(net.conv2(F.max_pool2d(first[None], 2))[0].relu(), second)
    torch.testing.assert_close(net.dense(third.flatten()[None]), net(image[None] / 255))


@pytest.mark.parametrize("pooling", ["average", "stride", "none"])
def test_every_pooling_has_maps(pooling: str, sample: Dataset) -> None:
    net, image = ConvNet("same", pooling), sample.test.images[0]
    *_, last = response_maps(net, image)
    torch.testing.assert_close(net.dense(last.maps.flatten()[None]), net(image[None] / 255))


def test_a_dense_network_has_neither_kernels_nor_maps(sample: Dataset) -> None:
    assert first_kernels(DenseNet(8)) is None
    assert response_maps(DenseNet(8), sample.test.images[0]) == []


def test_the_first_kernels_are_those_of_the_first_layer() -> None:
    net = ConvNet()
    assert torch.equal(first_kernels(net), net.conv1.weight[:, 0])


def test_evidence_is_what_the_logit_loses_without_the_patch(sample: Dataset) -> None:
    net, image = ConvNet(), sample.test.images[0]
    found = evidence(net, image, label=3)
    whole = net(image[None] / 255)[0, 3]
    for y, x in ((14, 14), (10, 16), (0, 0), (27, 27)):
        covered = image.clone()
        covered[:, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 0
        torch.testing.assert_close(found[y, x], whole - net(covered[None] / 255)[0, 3], atol=1e-5, rtol=1e-4)
    assert found.any()
    assert found[0, 0] == 0  # no ink there
