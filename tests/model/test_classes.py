"""Classes have names and any number; figures by class are those of scikit-learn."""

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, recall_score
from torch.utils.data import DataLoader, TensorDataset

from mnist_cnn import ConvNet, DenseNet, DigitClassifier
from mnist_cnn.errors import InputError
from mnist_cnn.model.metrics import class_accuracies, macro_f1
from mnist_cnn.runs.checkpoint import load_classifier

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


@pytest.mark.parametrize("net", [ConvNet(classes=26), DenseNet(classes=26), DigitClassifier({"classes": 26})])
def test_a_network_has_as_many_logits_as_classes(net: torch.nn.Module) -> None:
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 26)


@pytest.mark.filterwarnings("ignore:.*no .val_dataloader", "ignore:.*does not have many workers")
def test_a_checkpoint_keeps_the_names(tmp_path: Path) -> None:
    classifier = DigitClassifier({"name": "conv"}, classes=LETTERS, reading="resize")
    trainer = pl.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    images, labels = torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 1, 24, 25])
    trainer.fit(classifier, DataLoader(TensorDataset(images, labels), 4))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for loaded in (load_classifier(tmp_path / "a.ckpt"), DigitClassifier.load_from_checkpoint(tmp_path / "a.ckpt")):
        assert loaded.classes == LETTERS
        assert loaded.reading == "resize"


def test_ten_digits_are_not_named_in_a_checkpoint() -> None:
    assert dict(DigitClassifier().hparams) == {"model": {}, "label_smoothing": 0.0}
    assert DigitClassifier().classes == tuple("0123456789")
    assert DigitClassifier({"name": "conv", "classes": 3}).classes == ("0", "1", "2")


def test_figures_by_class_are_scikit_learns() -> None:
    truth, given = np.random.default_rng(0).integers(0, 5, (2, 200))
    truth[truth == 3] = 2  # a class that no image has
    counts = torch.zeros(6, 6, dtype=torch.int64)  # and one that nobody names
    np.add.at(counts.numpy(), (truth, given), 1)
    assert macro_f1(counts).item() == pytest.approx(f1_score(truth, given, average="macro"))
    expected = recall_score(truth, given, average=None, labels=range(6), zero_division=np.nan)
    assert class_accuracies(counts) == pytest.approx([None if np.isnan(each) else each for each in expected])


def test_weights_multiply_the_loss_of_their_class() -> None:
    classifier = DigitClassifier({"channels": [2]}, class_weights=[1.0] * 9 + [5.0])
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([0, 9, 4])
    loss, logits = classifier.training_loss(images, labels)
    each = F.cross_entropy(logits, labels, reduction="none")
    assert loss.item() == pytest.approx(((each * torch.tensor([1, 5, 1])).sum() / 7).item())


def test_a_network_of_other_classes_is_one_line() -> None:
    loader = DataLoader(TensorDataset(torch.zeros(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])), 4)
    with pytest.raises(InputError, match="the network has 7 logits for 10 classes: give classes="):
        pl.Trainer(**QUIET).test(DigitClassifier(net=ConvNet(classes=7)), loader, verbose=False)
