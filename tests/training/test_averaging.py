from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

from mnist_cnn import load_classifier
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.start import Options, train
from tests.recipes import SMALL
from tests.training.test_assemble import assembled


def flat(module: torch.nn.Module) -> Tensor:
    """Return all weights, on the CPU: where they were trained they may lie in another order."""
    return torch.cat([weights.detach().cpu().flatten() for weights in module.parameters()])


def test_the_averaged_weights_are_validated_tested_and_saved(tmp_path: Path) -> None:
    made = assembled(tmp_path, "model.channels=[4,8]", "ema_decay=0.99", "data.val_size=500", "optimizer=adam")
    first, trained = flat(made.classifier), list[Tensor]()
    note = LambdaCallback(on_train_batch_end=lambda trainer, module, *_: trained.append(flat(module)))
    made.trainer.callbacks.append(note)  # type: ignore[attr-defined]
    result = made.fit_and_test()

    kept, best = (load_classifier(file) for file in (Run(tmp_path).last, Run(tmp_path).best))
    for classifier in (best, made.classifier):
        assert torch.equal(flat(classifier), flat(kept))
    assert (flat(kept) - first).norm() < 0.9 * (trained[-1] - first).norm()  # an average lags behind
    assert made.data.dataset is not None
    for stage, held_out in (("val", made.data.val), ("test", made.data.dataset.test)):
        right = kept.predict(held_out.images).digits == held_out.labels
        assert result[f"{stage}/acc"] == pytest.approx(float(right.float().mean()))


def test_a_run_stopped_before_its_test_tests_the_average_later(tmp_path: Path) -> None:
    overrides = ("ema_decay=0.99", "optimizer=adam")
    whole = assembled(tmp_path / "whole", "model.channels=[4,8]", *overrides).fit_and_test()
    settings = compose(*SMALL, *overrides)
    assert train(settings, Run(tmp_path / "paused"), Options(pause_after=1)) == {}
    assert train(settings, Run(tmp_path / "paused"))["test/loss"] == whole["test/loss"]
