from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

from mnist_cnn import load_classifier
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.start import Options, train
from tests.recipes import SMALL
from tests.training.test_job import assembled


def flat(module: torch.nn.Module) -> Tensor:
    """Return all weights, on the CPU: where they were trained they may lie in another order."""
    return torch.cat([weights.detach().cpu().flatten() for weights in module.parameters()])


def test_the_average_of_the_weights_is_what_is_validated_tested_and_kept(tmp_path: Path) -> None:
    made = assembled(tmp_path, "model.channels=[4,8]", "ema_decay=0.99", "data.val_size=500", "optimizer=adam")
    current: list[Tensor] = []  # after every 16 steps

    def note(trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        current.append(flat(module))

    made.trainer.callbacks.append(LambdaCallback(on_train_batch_end=note))  # type: ignore[attr-defined]
    result = made.fit_and_test()
    average, decay = current[0], 0.99**16
    for weights in current[1:]:
        average = decay * average + (1 - decay) * weights

    kept, best = (load_classifier(file) for file in (Run(tmp_path).last, Run(tmp_path).best))
    for classifier in (kept, best, made.classifier):
        assert torch.allclose(flat(classifier), average, atol=1e-6)
    assert not torch.allclose(average, current[-1], atol=1e-3)
    assert made.data.dataset is not None
    for stage, held_out in (("val", made.data.val), ("test", made.data.dataset.test)):
        right = kept.predict(held_out.images).digits == held_out.labels
        assert result[f"{stage}/acc"] == pytest.approx(float(right.float().mean()))


def test_a_run_that_was_stopped_before_its_test_tests_the_average(tmp_path: Path) -> None:
    overrides = ("ema_decay=0.99", "optimizer=adam")
    whole = assembled(tmp_path / "whole", "model.channels=[4,8]", *overrides).fit_and_test()
    settings = compose(*SMALL, *overrides)
    assert train(settings, Run(tmp_path / "paused"), Options(pause_after=1)) == {}
    assert train(settings, Run(tmp_path / "paused"))["test/loss"] == whole["test/loss"]
