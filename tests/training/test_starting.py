"""start_from takes the layers that fit, from any file; freeze keeps them to the bit."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mnist_cnn.data.datasets import DIGITS
from mnist_cnn.errors import InputError
from mnist_cnn.model.nets import ConvNet
from mnist_cnn.runs.checkpoint import load_classifier, read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.assemble import assemble
from mnist_cnn.training.start import Options, train
from mnist_cnn.training.start_weights import digest, read_weights, start_from
from tests.conftest import Trained
from tests.recipes import QUICK

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
ONE_EPOCH = ("data.name=sample", "data.train_size=640", "trainer=cpu", "trainer.max_epochs=1", "threads=1")


@pytest.mark.parametrize("ending", ["run", ".ckpt", ".safetensors", ".keras"])
def test_any_file_of_the_same_network_gives_all_its_weights(
    ending: str, trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load_classifier(trained.path).net.state_dict()
    source = {"run": trained.path, ".ckpt": trained.path / "checkpoints" / "last.ckpt"}.get(
        ending, tmp_path / f"a{ending}"
    )
    if ending == ".safetensors":
        save_file(expected, source)
    elif ending == ".keras":
        from mnist_cnn.keras.convert import export_keras

        export_keras(trained.path, source)
    net = ConvNet()
    with caplog.at_level("INFO"):
        start_from(read_weights(str(source)), net, DIGITS)
    assert all(torch.equal(part, expected[name]) for name, part in net.state_dict().items())
    assert caplog.messages == [f"starts from {source}: conv1, conv2, conv3, dense"]


def test_layers_of_another_shape_begin_anew(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    net = ConvNet(channels=(32, 64, 5), classes=26)
    before = {name: part.clone() for name, part in net.state_dict().items()}
    with caplog.at_level("INFO"):
        start_from(read_weights(str(trained.path))._replace(name="a run"), net, LETTERS)
    same = {name.partition(".")[0] for name, part in net.state_dict().items() if torch.equal(part, before[name])}
    assert {"conv3", "dense"} <= same
    assert "conv1" not in same
    assert caplog.messages == ["starts from a run: conv1, conv2; newly initialised: conv3, dense"]


def test_a_network_that_shares_no_layer_is_one_line(trained: Trained) -> None:
    with pytest.raises(InputError, match="start_from=a run has no layer that fits"):
        start_from(
            read_weights(str(trained.path))._replace(name="a run"), ConvNet(channels=(3, 3, 3), classes=3), "ABC"
        )


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw", "sgd"])
def test_frozen_layers_do_not_change_by_a_bit(tmp_path: Path, optimizer: str, norm: str) -> None:
    layers = ["conv1", "conv2"] + (["norm1", "norm2"] if norm == "batch" else [])
    overrides = [*ONE_EPOCH, f"optimizer={optimizer}", f"model.norm={norm}", "++optimizer.weight_decay=0.1"]
    overrides = [each for each in overrides if "weight_decay" not in each or optimizer != "rmsprop"]
    made = assemble(compose(*overrides, f"freeze=[{','.join(layers)}]"), Run(tmp_path), Options())
    before = {name: part.clone() for name, part in made.classifier.net.state_dict().items()}
    made.fit_and_test()
    after = load_classifier(tmp_path).net.state_dict()
    changed = {name.partition(".")[0] for name, part in after.items() if not torch.equal(part, before[name])}
    assert not changed & {*layers}
    assert {"conv3", "dense"} <= changed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["freeze=[conv9]"], "freeze=conv9 is not known: choose one of conv1"),
        (["freeze=[conv1,conv2,conv3,dense]"], "freeze leaves no layer to train"),
        (["start_from=nowhere"], "there is no checkpoint nowhere"),
        (["start_from=a.safetensors"], "a.safetensors cannot be read"),
        (["patience=2"], "patience=2 needs validation images: give data.val_size"),
        (["+callbacks.a._target_=pathlib.Path"], "callbacks.a cannot be built: it is not a Callback of Lightning"),
        (["+callbacks.a._target_=nowhere.Callback"], "callbacks.a cannot be built: "),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        assemble(compose(*QUICK, *overrides), Run(tmp_path / "run"), Options())
    assert not (tmp_path / "run").exists()


def test_a_run_is_of_the_weights_that_it_started_from(trained: Trained, tmp_path: Path) -> None:
    settings = compose(*ONE_EPOCH, f"start_from={trained.path}")
    result = train(settings, Run(tmp_path / "run"))
    assert len(result["settings"]["start_from.weights"]) == 12
    assert (
        read_checkpoint(Run(tmp_path / "run").last)["config"]["start_from.weights"]
        == result["settings"]["start_from.weights"]
    )
    assert train(settings, Run(tmp_path / "run")) == result  # it is complete


def test_callbacks_of_ones_own_are_called_and_their_state_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_callbacks.py").write_text(
        "import lightning.pytorch as pl\n"
        "class Count(pl.Callback):\n"
        "    def __init__(self, by): self.by, self.n = by, 0\n"
        "    def on_train_epoch_end(self, trainer, module): self.n += self.by\n"
        "    def state_dict(self): return {'n': self.n}\n"
        "    def load_state_dict(self, state): self.n = state['n']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = ("+callbacks.count._target_=my_callbacks.Count", "+callbacks.count.by=10")
    for epochs in (1, 3):
        train(compose(*ONE_EPOCH, f"trainer.max_epochs={epochs}", *mine), Run(tmp_path / "run"))
    assert read_checkpoint(Run(tmp_path / "run").last)["callbacks"]["Count"] == {"n": 30}


def test_the_head_of_other_classes_begins_anew(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        start_from(read_weights(str(trained.path))._replace(name="a run"), ConvNet(), LETTERS[:10])
    assert caplog.messages == ["starts from a run: conv1, conv2, conv3; newly initialised: dense"]


def test_the_order_of_weights_in_a_file_does_not_matter() -> None:
    weights = ConvNet().state_dict()
    assert digest(dict(reversed(weights.items()))) == digest(weights)
    assert digest({name: part + 1 for name, part in weights.items()}) != digest(weights)


def test_a_teacher_of_other_classes_is_one_line(trained: Trained, tmp_path: Path) -> None:
    for number, label in enumerate("ABABABAB"):
        file = tmp_path / "pictures" / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 100 * (label == "A") + 50).save(file)
        with Image.open(file) as image:
            image.putpixel((3, 3), 7)
            image.save(file)
    overrides = (
        "data=folder",
        f"data.dir={tmp_path / 'pictures'}",
        "data.reading=resize",
        f"teacher.runs={trained.path}",
    )
    with pytest.raises(InputError, match="has other classes than the data"):
        assemble(compose(*overrides, "trainer=cpu"), Run(tmp_path / "run"), Options())
