"""What a checkpoint of a DigitClassifier contains, and which other files are understood."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from mnist_cnn import ConvNet, DigitClassifier, MNISTDataModule, load_classifier
from mnist_cnn.errors import InputError
from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected
from tests.recipes import IMAGES, NET, TRAINER


def test_values_of_hydra_and_numpy_are_stored_as_primitives(tmp_path: Path) -> None:
    config = {"_target_": "mnist_cnn.DigitClassifier", "model": {"name": "conv", "channels": [4, 4]}}
    for classifier in (instantiate(config), DigitClassifier({"channels": np.array([4, 4])})):
        assert classifier.hparams.keys() == {"model", "label_smoothing"}
        assert type(classifier.hparams["model"]["channels"]) is list
        trainer, _ = fit(classifier)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        assert torch.equal(load_classifier(tmp_path / "a.ckpt")(IMAGES), classifier.eval()(IMAGES))
    with pytest.raises(InputError, match="cannot be stored in a checkpoint"):
        DigitClassifier({"channels": [4, object()]})


def test_loading_keeps_label_smoothing_and_resuming_with_another_optimizer_is_refused(tmp_path: Path) -> None:
    trainer, _ = fit(DigitClassifier(NET, optimizer=torch.optim.Adam, label_smoothing=0.2))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.label_smoothing == 0.2
    again = pl.Trainer(**TRAINER | {"max_epochs": 2})
    with pytest.raises(InputError, match="the checkpoint was trained with Adam, not KerasRMSprop"):
        again.fit(loaded, MNISTDataModule(name="sample"), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    fit(loaded)  # other weights to begin with: any optimizer will do
    data = MNISTDataModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert (data.source, data.batch_size) == ("sample", 100)


def test_a_subclass_with_hyper_parameters_of_its_own_is_loaded(tmp_path: Path) -> None:
    class Mine(DigitClassifier):
        def __init__(self, rate: float = 1e-3) -> None:
            super().__init__(NET)
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
def test_prefixes_of_compile_and_ddp_are_removed_from_names(wrap: Callable[[str], str], tmp_path: Path) -> None:
    trainer, _ = fit(classifier := DigitClassifier(NET))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["state_dict"] = {wrap(name): part for name, part in content["state_dict"].items()}
    torch.save(content, tmp_path / "a.ckpt")
    assert torch.equal(load_classifier(tmp_path / "a.ckpt")(IMAGES), classifier.eval()(IMAGES))


def test_files_with_weights_alone_are_refused(tmp_path: Path) -> None:
    torch.save(DigitClassifier(NET).state_dict(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="a.pt holds only weights, and does not say of which network"):
        load_classifier(tmp_path / "a.pt")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="its MODEL_CARD.md has the code that loads them"):
        load_classifier(tmp_path / "a.safetensors")
