"""The pieces as users take them apart: hooks, tracing, other precisions, own networks, plain loops, other loaders."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import mnist_cnn
from mnist_cnn import ConvNet, DenseNet, DigitClassifier, MNISTDataModule, load_classifier, register_net
from mnist_cnn.data.augment import Augmentation
from mnist_cnn.errors import InputError
from mnist_cnn.model import nets
from tests.model.test_in_any_trainer import SMALL, fit, pytestmark  # noqa: F401 - the same warnings are expected

IMAGES = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCH = IMAGES, torch.arange(8)
QUIET: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
ONCE = QUIET | {"max_epochs": 1, "enable_model_summary": False, "enable_checkpointing": False}


class Linear(nn.Module):
    """A network of a user's, which is no nn.Sequential."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(784, width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x.flatten(1)).tanh())


def step(classifier: DigitClassifier) -> None:
    classifier.train().training_step(BATCH, 0).backward()


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "NETS", dict(nets.NETS))


# what looks into a network in training


def test_a_hook_sees_an_ordinary_tensor_in_training() -> None:
    classifier, means = DigitClassifier(), list[float]()
    classifier.net.relu1.register_forward_hook(lambda layer, inputs, output: means.append(output.mean().item()))  # type: ignore[union-attr, func-returns-value]
    step(classifier)
    assert means[0] > 0


@pytest.mark.parametrize(
    "layer", [nn.LeakyReLU(), nn.SiLU(), nn.Sequential(nn.ReLU(), nn.Dropout(0.25)), nn.GroupNorm(4, 32)]
)
def test_a_layer_can_be_replaced(layer: nn.Module) -> None:
    classifier = DigitClassifier()
    classifier.net.relu1 = layer
    step(classifier)


def test_gradients_per_image_by_vmap_are_those_of_each_image() -> None:
    classifier = DigitClassifier(SMALL)
    weights = {name: part.detach() for name, part in classifier.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(classifier, weights, (image[None],)), label[None])

    gradient = torch.func.grad(loss)
    several = torch.func.vmap(gradient, (None, 0, 0))(weights, IMAGES / 255, BATCH[1])
    first = gradient(weights, IMAGES[0] / 255, BATCH[1][0])
    for name in weights:
        torch.testing.assert_close(several[name][0], first[name])


def test_a_gradient_of_a_gradient_exists() -> None:
    classifier = DigitClassifier(SMALL)
    weights = list(classifier.net.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(classifier(IMAGES), BATCH[1]), weights, create_graph=True)
    sum((each**2).sum() for each in gradients).backward()  # type: ignore[union-attr]
    assert all(part.grad is not None for part in classifier.net.parameters())


@pytest.mark.filterwarnings("ignore")  # of torch's tracer
def test_it_can_be_exported_while_it_is_in_train_mode() -> None:
    torch.export.export(DigitClassifier(SMALL), (torch.rand(2, 1, 28, 28),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_have_the_precision_of_the_weights(dtype: torch.dtype) -> None:
    assert DigitClassifier(SMALL).to(dtype)(IMAGES).dtype == dtype
    assert nn.ModuleDict({"c": DigitClassifier(SMALL)}).to(dtype)["c"](IMAGES.to(dtype) / 255).dtype == dtype
    alone = DigitClassifier(SMALL)
    alone.net.to(dtype)
    assert alone(IMAGES).dtype == dtype


# one's own network


def test_ones_own_network_trains_is_saved_and_loaded(tmp_path: Path) -> None:
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
    del nets.NETS[name]
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
        (Linear, {"width": "x"}, "cannot be used: TypeError"),
        (type("Short", (Linear,), {"forward": lambda self, x: x.flatten(1)}), {}, r"to shape \(2, 784\): expected"),
    ],
)
def test_what_is_no_network_is_refused(net: Any, options: dict[str, Any], message: str) -> None:
    def build() -> None:
        register_net(net)
        DigitClassifier({"name": f"{net.__module__}.{net.__qualname__}", **options})

    with pytest.raises(InputError, match=message):
        build()


def test_slices_of_a_network_are_its_layers() -> None:
    assert [*dict(ConvNet()[:2].named_children())] == ["conv1", "pool1"]
    assert len(DenseNet()[:-1]) == 3
    assert isinstance(ConvNet()[-1], nn.Linear)


def test_folding_dropout_and_normalization_changes_no_answer() -> None:
    net = ConvNet(channels=[4, 8], dropout=0.5, norm="batch").train()
    for _ in range(3):
        net(torch.rand(8, 1, 28, 28))
    plain = nets.fold(net)
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.Dropout) for layer in plain)
    torch.testing.assert_close(plain(IMAGES / 255), net.eval()(IMAGES / 255))


# hyper-parameters and checkpoints


def test_what_hydra_and_numpy_give_is_kept_as_primitives(tmp_path: Path) -> None:
    config = {"_target_": "mnist_cnn.DigitClassifier", "model": {"name": "conv", "channels": [4, 4]}}
    for classifier in (instantiate(config), DigitClassifier({"channels": np.array([4, 4])})):
        assert type(classifier.hparams["model"]["channels"]) is list
        trainer, _ = fit(classifier)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        assert torch.equal(load_classifier(tmp_path / "a.ckpt")(IMAGES), classifier.eval()(IMAGES))
    with pytest.raises(InputError, match="cannot be kept in a checkpoint"):
        DigitClassifier({"channels": [4, object()]})


def test_loading_keeps_label_smoothing_and_resuming_with_another_optimizer_is_refused(tmp_path: Path) -> None:
    trainer, _ = fit(DigitClassifier(SMALL, optimizer=torch.optim.Adam, label_smoothing=0.2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.label_smoothing == 0.2
    again = pl.Trainer(**ONCE | {"max_epochs": 2})
    with pytest.raises(InputError, match="the checkpoint was trained with Adam, not KerasRMSprop"):
        again.fit(loaded, MNISTDataModule(name="sample"), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    fit(loaded)  # other weights to begin with: any optimizer will do
    data = MNISTDataModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert (data.source, data.batch_size) == ("sample", 100)


def test_a_subclass_with_hyper_parameters_of_its_own_is_loaded(tmp_path: Path) -> None:
    class Mine(DigitClassifier):
        def __init__(self, rate: float = 1e-3) -> None:
            super().__init__(SMALL)
            self.save_hyperparameters()

    trainer, _ = fit(Mine())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert isinstance(load_classifier(tmp_path / "a.ckpt").net, ConvNet)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace("net.", "net._orig_mod."),
        lambda name: f"module.{name}",
    ],
)
def test_names_that_wrappers_add_are_understood(wrap: Callable[[str], str], tmp_path: Path) -> None:
    trainer, _ = fit(classifier := DigitClassifier(SMALL))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["state_dict"] = {wrap(name): part for name, part in content["state_dict"].items()}
    torch.save(content, tmp_path / "a.ckpt")
    assert torch.equal(load_classifier(tmp_path / "a.ckpt")(IMAGES), classifier.eval()(IMAGES))


def test_bare_weights_are_refused_by_what_they_are(tmp_path: Path) -> None:
    torch.save(DigitClassifier(SMALL).state_dict(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="a.pt holds only weights, and does not say of which network"):
        load_classifier(tmp_path / "a.pt")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="its MODEL_CARD.md has the code that loads them"):
        load_classifier(tmp_path / "a.safetensors")


# loaders and steps


def test_torchs_own_loader_takes_the_data_set() -> None:
    data = MNISTDataModule(name="sample", batch_size=32)
    images, labels = next(iter(DataLoader(data.train_dataloader().dataset, batch_size=32)))
    assert (images.shape, images.dtype, labels.shape) == ((32, 1, 28, 28), torch.uint8, (32,))
    assert torch.equal(images, data.train.images[:32])


def test_floats_are_what_any_network_takes() -> None:
    images, _ = next(iter(MNISTDataModule(name="sample", floats=True).test_dataloader()))
    assert images.dtype == torch.float32
    assert images.max() == 1
    assert ConvNet()(images).shape == (250, 10)


def test_each_pass_of_a_plain_loop_is_the_next_epoch() -> None:
    loader = MNISTDataModule(name="sample", augmentation=Augmentation(shift=2), train_size=64).train_dataloader()
    (first,), (second,) = list(loader), list(loader)
    assert not torch.equal(first[1], second[1])
    loader.sampler.set_epoch(0)  # type: ignore[attr-defined]
    (again,) = loader
    assert torch.equal(first[0], again[0])
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    (next_one,) = loader
    assert torch.equal(second[0], next_one[0])


def test_lightning_leaves_our_order_as_it_is() -> None:
    data = MNISTDataModule(name="sample", val_size=500)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert isinstance(loader.sampler, DistributedSampler)  # type: ignore[union-attr]


TWO = """
import os
import lightning.pytorch as pl, torch
from lightning.pytorch.callbacks import BasePredictionWriter
from mnist_cnn import DigitClassifier, MNISTDataModule

def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: two processes print

class Count(BasePredictionWriter):
    def __init__(self): super().__init__("epoch"); self.n = [0, 0, 0]
    def on_train_batch_end(self, t, m, o, b, i): self.n[0] += len(b[1])
    def on_validation_batch_end(self, t, m, o, b, i, d=0): self.n[1] += len(b[1])
    def on_test_batch_end(self, t, m, o, b, i, d=0): self.n[2] += len(b[1])
    def on_fit_end(self, t, m): say("fit", *self.n[:2], t.global_step)
    def on_test_end(self, t, m): say("test", self.n[2], int(m.test_metrics.images))
    def write_on_epoch_end(self, t, m, found, indices): say("predict", sum(len(p.digits) for p in found))

if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_fork", num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[Count()]
    )
    data = MNISTDataModule(name="sample", val_size=500, batch_size=100)
    classifier = DigitClassifier({"channels": [4, 4]})
    trainer.fit(classifier, data)
    trainer.test(classifier, data, verbose=False)
    trainer.predict(classifier, data, return_predictions=False)
"""


@pytest.mark.long
def test_two_processes_of_a_stock_trainer_share_the_images(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "two.py"], capture_output=True, text=True, timeout=240
    )
    said = sorted(line for line in done.stdout.splitlines() if line.split()[:1] in (["fit"], ["test"], ["predict"]))
    # of 3,500, 500 and 1,000 images; a test's sum over both is what `compute` has synchronised
    assert said == ["fit 1750 250 18"] * 2 + ["predict 500"] * 2 + ["test 500 500"] * 2, done.stderr


@pytest.mark.parametrize("stage", ["fit", "test", "predict"])
def test_normalised_floats_are_taken_at_every_stage(stage: str) -> None:
    images = (IMAGES / 255 - 0.1307) / 0.3081
    loader = DataLoader(TensorDataset(images, BATCH[1]), 4)
    trainer = pl.Trainer(**ONCE)
    getattr(trainer, stage)(DigitClassifier(SMALL), loader)


def test_several_loaders_are_tested_as_one() -> None:
    data = MNISTDataModule(name="sample")
    trainer = pl.Trainer(**QUIET)
    classifier = DigitClassifier(SMALL)
    trainer.test(classifier, [data.test_dataloader()] * 2, verbose=False)
    assert int(classifier.test_metrics.images) == 2000
    assert len(trainer.predict(classifier, [data.test_dataloader()] * 2) or ()) == 2


def test_integers_are_scaled_whatever_their_type() -> None:
    classifier = DigitClassifier(SMALL).eval()
    assert torch.equal(classifier(IMAGES.long()), classifier(IMAGES))


def test_predicting_leaves_each_module_in_its_mode() -> None:
    classifier = DigitClassifier(SMALL).train()
    classifier.net.conv1.eval()  # type: ignore[union-attr, operator]
    classifier.predict(IMAGES)
    assert classifier.training
    assert not classifier.net.conv1.training  # type: ignore[union-attr]


def test_lr_find_sets_the_learning_rate(tmp_path: Path) -> None:
    classifier = DigitClassifier(SMALL)
    trainer = pl.Trainer(**QUIET, max_epochs=1, default_root_dir=tmp_path)
    Tuner(trainer).lr_find(classifier, MNISTDataModule(name="sample"), num_training=20)
    assert classifier.lr
    trainer, _ = fit(classifier)
    assert trainer.optimizers[0].param_groups[0]["lr"] == classifier.lr


def test_a_scheduler_advances_at_every_epoch_unless_it_says_step() -> None:
    def halve(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    trainer, _ = fit(DigitClassifier(SMALL, scheduler=halve), max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3 / 4
    trainer, _ = fit(DigitClassifier(SMALL, scheduler=lambda each: {"scheduler": halve(each), "interval": "step"}))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3 / 16


def test_reduce_on_plateau_watches_the_validation_loss() -> None:
    def plateau(optimizer: torch.optim.Optimizer) -> Any:  # it counts as better only by 10
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, threshold_mode="abs")

    trainer, _ = fit(
        DigitClassifier(SMALL, scheduler=plateau), MNISTDataModule(name="sample", val_size=500), max_epochs=3
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-3


def test_every_steps_loss_is_logged() -> None:
    trainer, losses = fit()
    assert float(trainer.callback_metrics["train/loss_step"]) == pytest.approx(losses.losses[-1])


@pytest.mark.parametrize(
    ("argument", "message"),
    [("data_dir", "it is called dir"), ("num_workers", "leave it out"), ("batchsize", "it has dir, name, mirrors")],
)
def test_an_argument_of_others_is_answered_with_the_word_to_use(argument: str, message: str) -> None:
    with pytest.raises(InputError, match=f"MNISTDataModule has no argument {argument}: .*{message}"):
        MNISTDataModule(**{argument: 1})  # type: ignore[arg-type]


def test_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'DigitClasifier'"):
        _ = mnist_cnn.DigitClasifier  # type: ignore[attr-defined]
