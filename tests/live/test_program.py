"""The program in the page, run by Node: the same numbers as PyTorch, the same images as data.pictures."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.images import scale
from mnist_cnn.errors import InputError
from mnist_cnn.live.page import TEMPLATE, pack_familiarity
from mnist_cnn.live.weights import pack_net, round_to_float16
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.familiarity import Familiarity, measure_familiarity, read_features
from mnist_cnn.model.nets import fold
from mnist_cnn.model.registry import build_net
from mnist_cnn.reports.page import Page
from tests.live.drawings import as_picture, drawings

NETS = [
    *({"padding": padding, "pooling": pooling} for padding in ("valid", "same") for pooling in ("max", "average")),
    *({"padding": padding, "pooling": "stride"} for padding in ("valid", "same")),
    {"pooling": "none", "channels": [3, 5]},
    {"channels": [7]},
    {"channels": [4, 6], "norm": "batch", "dropout": 0.3, "hidden": 8, "final_pooling": True},
    {"name": "dense", "hidden": 9},
]


@pytest.fixture
def run_page(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the program of a page about a network."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node: apt-get install nodejs")

    def run(
        net: torch.nn.Sequential, dtype: str = "float32", familiarity: Familiarity | None = None, **request: Any
    ) -> dict[str, Any]:
        packed = {"name": "a", **pack_net(net, dtype)._asdict()}
        data = {"networks": [packed], "samples": [], "classes": [*"0123456789"], "images": ""}
        data |= {"familiarity": pack_familiarity(familiarity) if familiarity else None}
        about = {"title": "t", "name": "a", "networks": [], "images": 1, "misread": True, "false_alarms": None}
        about |= {"centred": True}
        page = Page(TEMPLATE, {**about, "has_maps": True, "pools_maximum": True, "data": data}, [])
        (tmp_path / "page.html").write_text(page.html())
        (tmp_path / "request.json").write_text(json.dumps(request))
        program = Path(__file__).with_name("run_page.mjs")
        command = [node, program, tmp_path / "page.html", tmp_path / "request.json"]
        answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return answer

    return run


@pytest.fixture
def images(sample: Dataset, tmp_path: Path) -> tuple[torch.Tensor, str]:
    """Twenty test images, and a file of their bytes."""
    chosen = sample.test.images[::50]
    (tmp_path / "images").write_bytes(chosen.numpy().tobytes())
    return chosen, str(tmp_path / "images")


@pytest.mark.parametrize("options", NETS, ids=str)
def test_every_network_gives_pytorchs_logits(
    options: dict[str, Any], images: tuple[torch.Tensor, str], run_page: Callable[..., dict[str, Any]]
) -> None:
    net = build_net(**options)
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    net.train()(scale(images[0]))  # moves what a normalization has seen
    logits = run_page(fold(net.eval()), images=images[1])["logits"]
    torch.testing.assert_close(torch.tensor(logits), net(scale(images[0])), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([nn.Conv2d(1, 4, 3), nn.LeakyReLU()], "1 of this network: LeakyReLU"),
        ([nn.Conv2d(1, 4, 5), nn.ReLU()], "0 of this network: Conv2d"),
        ([nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.ReLU()], "0 of this network: Conv2d"),
        ([nn.ReLU(), nn.Conv2d(1, 4, 3)], "0 of this network: ReLU"),
        ([nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.ReLU()], "2 of this network: ReLU"),
        ([nn.Conv2d(1, 4, 3), nn.MaxPool2d(3), nn.ReLU()], "MaxPool2d"),
    ],
)
def test_what_the_page_cannot_compute_is_refused_by_its_layer(layers: list[nn.Module], named: str) -> None:
    with pytest.raises(InputError, match=f"the page cannot compute layer .*{re.escape(named)}"):
        pack_net(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 10)), "float32")


def test_float16_weights_are_read_exactly(
    images: tuple[torch.Tensor, str], run_page: Callable[..., dict[str, Any]]
) -> None:
    net = build_net()
    with torch.no_grad():
        net.conv1.bias[:4] = torch.tensor([6e-8, -3e-6, 0.0, -1.0])  # also numbers below the least normal one
    assert round_to_float16(net)
    logits = run_page(net, "float16", images=images[1])["logits"]
    torch.testing.assert_close(torch.tensor(logits), net(scale(images[0])), rtol=0, atol=1e-4)


def test_weights_too_large_for_float16_stay_as_they_are() -> None:
    net = build_net(channels=[4])
    with torch.no_grad():
        net.dense.bias[0], net.dense.bias[1] = 70_000, 0.1
    assert not round_to_float16(net)
    assert net.dense.bias[1] == torch.tensor(0.1)


def test_strokes_become_what_a_picture_of_them_becomes(
    read: Callable[..., torch.Tensor], run_page: Callable[..., dict[str, Any]]
) -> None:
    drawn = drawings()[::6]
    answer = run_page(build_net(), drawings=drawn, centred=True)
    for image, fitted in zip(answer["read"], answer["fitted"], strict=True):
        picture = as_picture(fitted["strokes"], fitted["pen"])
        assert np.abs(np.array(image) - read(picture).numpy().ravel().astype(int)).max() <= 2


def test_without_centring_the_sheet_is_reduced_as_it_is(run_page: Callable[..., dict[str, Any]]) -> None:
    (image,) = run_page(build_net(), drawings=[{"strokes": [[25, 105]], "pen": 10}], centred=False)["read"]
    inked = np.array(image).reshape(28, 28)
    disc = np.array([[0, 255 * np.pi / 4, 0]])
    np.testing.assert_allclose(inked[10:11, 1:4], disc, atol=255 * 0.05)
    assert inked.sum() == inked[10, 2]


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"padding": "same", "pooling": "stride"}], ids=str)
def test_a_response_is_explained_by_window_kernel_bias(
    options: dict[str, Any], images: tuple[torch.Tensor, str], run_page: Callable[..., dict[str, Any]]
) -> None:
    net, place = build_net(**options), (5, 0, 1)  # a map, a row, a column
    stage = 2 if options.get("pooling") != "stride" else 1  # the second convolution
    explained = run_page(net, images=images[1], pixel=[stage, *place])["explained"]
    layers = list(net)[: [*dict(net.named_children())].index("conv2") + 1]
    before = torch.nn.Sequential(*layers)(scale(images[0][:1]))[0]
    assert explained["sum"] == pytest.approx(before[place].item(), abs=1e-5)
    assert explained["value"] == pytest.approx(F.relu(before)[place].item(), abs=1e-5)
    assert [term["kernel"] for term in explained["terms"]] == [
        pytest.approx(kernel.flatten().tolist()) for kernel in net.conv2.weight[place[0]].detach()
    ]


@pytest.mark.parametrize(
    "options", [{"channels": [4, 6]}, {"channels": [4, 8], "pooling": "none", "padding": "same"}], ids=str
)
def test_the_page_finds_unfamiliar_what_predict_does(
    options: dict[str, Any], sample: Dataset, images: tuple[torch.Tensor, str], run_page: Callable[..., dict[str, Any]]
) -> None:
    classifier = DigitClassifier({"name": "conv", **options})
    measured = measure_familiarity(classifier, sample.train)
    assert measured is not None
    distances = measured.distances(*read_features(classifier, images[0])).sort().values[4:-4]
    widest = int(distances.diff().argmax())  # the page computes with float16
    limit = float(distances[widest : widest + 2].mean())
    found = measured._replace(limit=limit)
    expected = found.are_unfamiliar(classifier, images[0]).tolist()
    assert run_page(fold(classifier.net), images=images[1], familiarity=found)["unfamiliar"] == expected
    assert {True, False} == {*expected}


def test_the_votes_of_the_last_maps_and_the_biases_add_up_to_the_lead(
    images: tuple[torch.Tensor, str], run_page: Callable[..., dict[str, Any]]
) -> None:
    net = build_net(channels=[4, 6])
    answer = run_page(net, images=images[1], rivals=[3, 8])
    bias = (net.dense.bias[3] - net.dense.bias[8]).item()
    for votes, logits in zip(answer["votes"], answer["logits"], strict=True):
        assert len(votes) == 6
        assert sum(votes) + bias == pytest.approx(logits[3] - logits[8], abs=1e-4)
