"""What is kept of a run that ends before its end, and that it goes on as if it had not ended."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cnn import DigitClassifier, signals
from mnist_cnn.errors import RunError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.train import compose, train
from mnist_cnn.training.saving import SaveLast
from tests.faults.configs import QUICK
from tests.faults.runs import difference

Compare = Callable[..., None]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Cut(Exception):
    pass


class CutAfter(SaveLast):
    """Ends the run after that step."""

    at_step = 0
    state_key = "SaveLast"

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        if trainer.global_step == self.at_step:
            raise Cut


@pytest.fixture
def ends_as_if_uncut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Train with these overrides, once as they are and once cut after a step and begun again, and compare."""

    def compare(step: int, *overrides: str) -> None:
        cfg = compose(*QUICK, *overrides)
        train(cfg, Run(tmp_path / "uncut"))
        with monkeypatch.context() as patch:
            patch.setattr("mnist_cnn.training.job.SaveLast", CutAfter)
            patch.setattr(CutAfter, "at_step", step)
            with pytest.raises(Cut):
                train(cfg, Run(tmp_path / "cut"))
        assert not Run(tmp_path / "cut").result()
        assert Run(tmp_path / "cut").last.exists()
        train(cfg, Run(tmp_path / "cut"))
        assert difference(tmp_path / "cut", tmp_path / "uncut") == ""

    return compare


VALIDATED = ("data.val_size=500", "trainer.max_epochs=2", "optimizer=adam", "scheduler=onecycle")


@pytest.mark.parametrize("step", [23, 55, 58, 66])  # 22 and 66: saved within an epoch; 55: at its last batch, its end
def test_a_run_cut_at_any_step_ends_as_if_uncut(step: int, ends_as_if_uncut: Compare) -> None:
    ends_as_if_uncut(step, *VALIDATED, "checkpoint.every_steps=11")


@pytest.mark.parametrize(
    ("at_once", "where", "number", "saved"),
    [
        (1, "training_step", 0, 1),
        (1, "training_step", 30, 31),
        (1, "training_step", 54, 55),  # the epoch's last: its end is awaited
        (16, "training_step", 0, 16),
        (16, "training_step", 16, 32),
        (16, "training_step", 48, 55),
        (16, "validation_step", 0, 55),
        (16, "test_step", 0, 110),
    ],
)
def test_a_signal_ends_the_run_once_its_state_is_saved(
    at_once: int, where: str, number: int, saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cnn.training.job.AT_ONCE", at_once)
    cfg = compose(*QUICK, *VALIDATED)
    train(cfg, Run(tmp_path / "uncut"))
    step = getattr(DigitClassifier, where)

    def stopped(self: DigitClassifier, batch: Any, batch_idx: int) -> Any:
        if batch_idx == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    signals.watch()
    with monkeypatch.context() as patch:
        patch.setattr(DigitClassifier, where, stopped)
        with pytest.raises(signals.Stopped) as stop:
            train(cfg, Run(tmp_path / "stopped"))
    signals._State.received = None
    assert stop.value.code == 143
    assert read_checkpoint(Run(tmp_path / "stopped").last)["global_step"] == saved
    assert not Run(tmp_path / "stopped").result()
    train(cfg, Run(tmp_path / "stopped"))
    assert difference(tmp_path / "stopped", tmp_path / "uncut") == ""


MILESTONES = ("+scheduler._target_=torch.optim.lr_scheduler.MultiStepLR", "+scheduler.milestones=[20,50]")


@pytest.mark.parametrize(
    "overrides",
    [
        ("optimizer=rmsprop", "optimizer.momentum=0.5", "optimizer.centered=true"),
        ("optimizer=nadam", "scheduler=cosine"),
        ("optimizer=adamw", *MILESTONES),
        ("optimizer=sgd", "+trainer.accumulate_grad_batches=2"),
        ("+trainer.precision=bf16-mixed",),
    ],
)
def test_whatever_is_trained_goes_on_as_if_uncut(overrides: tuple[str, ...], ends_as_if_uncut: Compare) -> None:
    ends_as_if_uncut(26, *overrides, "checkpoint.every_steps=13")


class NoisyDescent(torch.optim.SGD):
    """Draws from the random generator at every step."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for weights in group["params"]:
                    weights += 1e-4 * torch.randn_like(weights)
        return loss


def test_an_optimizer_that_draws_at_random_goes_on_as_if_uncut(ends_as_if_uncut: Compare) -> None:
    ends_as_if_uncut(22, "optimizer=sgd", f"optimizer._target_={__name__}.NoisyDescent", "checkpoint.every_steps=11")


class Unkeepable(torch.optim.SGD):
    """Has a state that is no data."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "log": Path("log")}


def test_a_state_that_could_not_be_read_again_ends_the_run_at_its_first_save(tmp_path: Path) -> None:
    keys = ("optimizer=sgd", f"optimizer._target_={__name__}.Unkeepable", "checkpoint.every_steps=1")
    with pytest.raises(RunError, match=r"state cannot be kept: it is refused: it asks to call pathlib\."):
        train(compose(*QUICK, *keys), Run(tmp_path))
    assert not Run(tmp_path).last.exists()


@pytest.mark.parametrize(
    ("every_steps", "kept"), [("20", "is from step 20, before it"), ("null", "was not reached yet")]
)
def test_a_loss_that_is_no_number_ends_the_run_with_its_step_and_keeps_the_state_before(
    every_steps: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, steps = F.cross_entropy, []

    def diverge(*arguments: Any, **options: Any) -> Tensor:
        steps.append(len(steps) + 1)
        return loss(*arguments, **options) * (float("inf") if len(steps) == 34 else 1)

    monkeypatch.setattr(F, "cross_entropy", diverge)
    with pytest.raises(RunError, match=rf"the loss is inf at step 34: try a smaller optimizer.lr, .*checkpoint {kept}"):
        train(compose(*QUICK, "data.batch_size=32", f"checkpoint.every_steps={every_steps}"), Run(tmp_path))
    assert not Run(tmp_path).result()
    assert len(steps) < 125  # the epoch has so many
    if every_steps == "20":
        weights = read_checkpoint(Run(tmp_path).last)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())


class Breaking(torch.optim.SGD):
    """Breaks a weight, after a loss that was sound."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            self.param_groups[0]["params"][0][0] = float("inf")
        return loss


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    keys = ("optimizer=sgd", f"optimizer._target_={__name__}.Breaking", "checkpoint.every_steps=1")
    with pytest.raises(RunError, match=r"a weight is no finite number at step 1: .*checkpoint was not reached yet"):
        train(compose(*QUICK, *keys), Run(tmp_path))
    assert not Run(tmp_path).last.exists()


def test_the_seconds_of_an_epoch_that_was_cut_are_those_of_both_parts(tmp_path: Path) -> None:
    train(compose(*QUICK, "checkpoint.every_steps=20"), Run(tmp_path))
    (state,) = (state for name, state in read_checkpoint(Run(tmp_path).last)["callbacks"].items() if name == "EpochLog")
    assert state["elapsed"] >= state["seconds"][0] > 0
