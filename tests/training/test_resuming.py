"""A run that was cut at any step resumes bit-identically."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training.saving import SaveLast
from tests.faults.runs import difference
from tests.recipes import SMALL, VALIDATED

Compare = Callable[..., None]


class Cut(Exception):
    pass


class CutAfter(SaveLast):
    """Ends the run after that step."""

    at_step = 0
    state_key = "SaveLast"

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        if trainer.global_step >= self.at_step:
            raise Cut


@pytest.fixture
def resumes_bit_identically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Train with these overrides, once without interruption and once cut after a step and resumed, and compare."""

    def compare(step: int, saved: int, *overrides: str) -> None:
        settings = compose(*SMALL, *overrides)
        train(settings, Run(tmp_path / "uncut"))
        with monkeypatch.context() as patch:
            patch.setattr("mnist_cnn.training.assemble.SaveLast", CutAfter)
            patch.setattr(CutAfter, "at_step", step)
            with pytest.raises(Cut):
                train(settings, Run(tmp_path / "cut"))
        assert not Run(tmp_path / "cut").result()
        assert read_checkpoint(Run(tmp_path / "cut").last)["global_step"] == saved
        train(settings, Run(tmp_path / "cut"))
        assert difference(tmp_path / "cut", tmp_path / "uncut") == ""

    return compare


@pytest.mark.parametrize(("step", "saved"), [(16, 16), (40, 48), (55, 48), (60, 71), (110, 103)])
def test_a_run_cut_within_an_epoch_resumes_bit_identically(
    step: int, saved: int, resumes_bit_identically: Compare
) -> None:
    resumes_bit_identically(step, saved, *VALIDATED, "checkpoint.every_steps=11")  # at the end of every slab


def test_the_steps_between_saves_are_counted_from_the_last_save(resumes_bit_identically: Compare) -> None:
    resumes_bit_identically(80, 55, *VALIDATED, "checkpoint.every_steps=40")  # 48, 55 (the epoch's end), 103


MILESTONES = (
    "+scheduler._target_=torch.optim.lr_scheduler.MultiStepLR",
    "+scheduler.milestones=[20,50]",
    "+scheduler.interval=step",
)
PLATEAU = (
    "+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau",
    "+scheduler.patience=0",
    "+scheduler.threshold=10",  # nothing is better by that much: it halves the rate at every epoch but the first
    "+scheduler.interval=epoch",
)


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=rmsprop", "optimizer.momentum=0.5", "optimizer.centered=true"),
        ("optimizer=nadam", "scheduler=cosine"),
        ("optimizer=muon", "scheduler=onecycle"),
        ("optimizer=adamw", *MILESTONES),
        ("optimizer=adamw", *PLATEAU),
        ("optimizer=sgd", "trainer.gradient_clip_val=0.1"),
        ("trainer.precision=bf16-mixed",),
        ("augment=elastic", "ema_decay=0.99"),
    ],
)
def test_optimizers_schedulers_and_options_resume_bit_identically(
    overrides: tuple[str, ...], resumes_bit_identically: Compare
) -> None:
    resumes_bit_identically(40, 48, *overrides, "checkpoint.every_steps=13")


class NoisyDescent(torch.optim.SGD):
    """Draws from the random generator at every step."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for weights in group["params"]:
                    weights += 1e-4 * torch.randn_like(weights)
        return loss


def test_an_optimizer_that_draws_at_random_resumes_bit_identically(resumes_bit_identically: Compare) -> None:
    target = f"optimizer._target_={__name__}.NoisyDescent"
    resumes_bit_identically(40, 48, "optimizer=sgd", target, "checkpoint.every_steps=11")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: its random numbers are its own")
def test_an_optimizer_that_draws_on_a_gpu_resumes_bit_identically(resumes_bit_identically: Compare) -> None:
    target = f"optimizer._target_={__name__}.NoisyDescent"
    resumes_bit_identically(40, 48, "trainer=gpu", "optimizer=sgd", target, "checkpoint.every_steps=11")
