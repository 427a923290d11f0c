"""Schedulers and Lightning's search for a learning rate, in a stock Trainer."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.tuner import Tuner

from mnist_cnn import DigitClassifier, MNISTDataModule
from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected
from tests.recipes import NET, TRAINER


def test_lr_find_sets_the_learning_rate(tmp_path: Path) -> None:
    classifier = DigitClassifier(NET)
    trainer = pl.Trainer(**TRAINER, default_root_dir=tmp_path)
    Tuner(trainer).lr_find(classifier, MNISTDataModule(name="sample"), num_training=20)
    assert classifier.lr
    trainer, _ = fit(classifier)
    assert trainer.optimizers[0].param_groups[0]["lr"] == classifier.lr


def test_a_scheduler_advances_at_every_epoch_unless_it_says_step() -> None:
    def halve(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    trainer, _ = fit(DigitClassifier(NET, scheduler=halve), max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3 / 4
    trainer, _ = fit(DigitClassifier(NET, scheduler=lambda each: {"scheduler": halve(each), "interval": "step"}))
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3 / 16


def test_reduce_on_plateau_watches_the_validation_loss() -> None:
    def plateau(optimizer: torch.optim.Optimizer) -> Any:  # it counts as better only by 10
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, threshold_mode="abs")

    trainer, _ = fit(
        DigitClassifier(NET, scheduler=plateau), MNISTDataModule(name="sample", val_size=500), max_epochs=3
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-3
