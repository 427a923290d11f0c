"""Networks of a user's own, and which of them a checkpoint may name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_cnn import DigitClassifier, load_classifier, register_net
from mnist_cnn.errors import InputError
from mnist_cnn.model import registry
from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected
from tests.recipes import IMAGES


class Linear(nn.Module):
    """A network of a user's, which is no nn.Sequential."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(784, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x.flatten(1)).tanh())


class Viewing(nn.Sequential):
    """As in many tutorials: `view` needs the plain memory layout."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), nn.Linear(576, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[2](self[1](self[0](x)).view(-1, 576))


@pytest.fixture(autouse=True)
def separate_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "NETS", dict(registry.NETS))


def test_a_users_own_network_trains_and_is_saved_and_loaded(tmp_path: Path) -> None:
    classifier = DigitClassifier(net=Linear(3))
    trainer, _ = fit(classifier)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", net=Linear(3), weights_only=True)
    assert torch.equal(loaded.eval()(IMAGES), classifier.eval()(IMAGES))


def test_a_file_alone_imports_no_network_and_a_registered_one_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_net(Linear)
    name = f"{__name__}.Linear"
    trainer, _ = fit(DigitClassifier({"name": name, "width": 3}))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert isinstance(load_classifier(tmp_path / "a.ckpt").net, Linear)
    del registry.NETS[name]
    with pytest.raises(InputError, match="is not imported because a file names it: call mnist_cnn.register_net first"):
        load_classifier(tmp_path / "a.ckpt")
    monkeypatch.setenv("MNIST_CNN_NETS", name)
    assert isinstance(load_classifier(tmp_path / "a.ckpt").net, Linear)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("no.such.Net", {}, "model.name=no.such.Net cannot be imported: ModuleNotFoundError"),
        ("os.path.join", {}, "is no class of torch.nn.Module"),
        (Linear, {"widht": 3}, "has no option widht: it has width"),
        (Linear, {"width": "x"}, "failed: TypeError"),
        (type("Short", (Linear,), {"forward": lambda self, x: x.flatten(1)}), {}, r"to shape \(2, 784\): expected"),
    ],
)
def test_classes_that_are_no_networks_are_refused(net: Any, options: dict[str, Any], message: str) -> None:
    def build() -> None:
        register_net(net)
        DigitClassifier({"name": f"{net.__module__}.{net.__qualname__}", **options})

    with pytest.raises(InputError, match=message):
        build()


def test_a_network_may_view_its_activations() -> None:
    register_net(Viewing)
    classifier = DigitClassifier({"name": f"{__name__}.Viewing"})
    fit(classifier)
    assert classifier.predict(IMAGES).digits.shape == (len(IMAGES),)


def test_weights_of_a_network_that_was_given_are_not_loaded_into_another(tmp_path: Path) -> None:
    register_net(Linear)
    trainer, _ = fit(DigitClassifier(net=Linear()))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for load in (load_classifier, DigitClassifier.load_from_checkpoint):
        with pytest.raises(InputError, match=r"was given as net=.*Linear\(...\): load it with .*net=...\)"):
            load(tmp_path / "a.ckpt")


def test_a_class_that_a_package_exports_has_both_names() -> None:
    register_net("torch.nn.Linear")
    assert registry.NETS["torch.nn.Linear"] is registry.NETS["torch.nn.modules.linear.Linear"] is nn.Linear
