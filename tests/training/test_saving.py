"""When the state of a run is saved: upon a signal, finite, and whole."""

import os
import signal
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_cnn import DigitClassifier, signals
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training.saving import AtomicCheckpointIO, SaveBest
from tests.conftest import posix
from tests.faults.runs import difference
from tests.recipes import SMALL, VALIDATED

Compare = Callable[..., None]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@posix
@pytest.mark.parametrize(
    ("where", "batch", "saved"),
    [
        ("training_step", 0, 16),
        ("training_step", 2, 48),
        ("training_step", 3, 55),  # the epoch's last: its end is awaited
        ("validation_step", 0, 55),
        ("test_step", 0, 110),
    ],
)
def test_a_signal_ends_the_run_once_its_state_is_saved(
    where: str, batch: int, saved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compose(*SMALL, *VALIDATED)
    train(settings, Run(tmp_path / "uncut"))
    owner = "mnist_cnn.training.slabs.SlabClassifier"
    step = getattr(DigitClassifier, where)
    if where == "training_step":
        from mnist_cnn.training.slabs import SlabClassifier

        step = SlabClassifier.training_step

    def stopped(self: DigitClassifier, given: Any, batch_idx: int) -> Any:
        if batch_idx == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, given, batch_idx)

    signals.handle_signals()
    with monkeypatch.context() as patch:
        patch.setattr(f"{owner}.{where}", stopped)
        with pytest.raises(signals.Stopped) as stop:
            train(settings, Run(tmp_path / "stopped"))
    signals._State.received = None
    assert stop.value.code == 143
    assert read_checkpoint(Run(tmp_path / "stopped").last)["global_step"] == saved
    assert not Run(tmp_path / "stopped").result()
    train(settings, Run(tmp_path / "stopped"))
    assert difference(tmp_path / "stopped", tmp_path / "uncut") == ""


class Unsaveable(torch.optim.SGD):
    """Has a state that is more than tensors and primitives."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "log": Path("log")}


def test_a_state_that_could_not_be_read_again_ends_the_run_at_its_first_save(tmp_path: Path) -> None:
    keys = ("optimizer=sgd", f"optimizer._target_={__name__}.Unsaveable", "checkpoint.every_steps=1")
    with pytest.raises(RunError, match=r"state of this run cannot be saved: it .*pathlib\."):
        train(compose(*SMALL, *keys), Run(tmp_path))
    assert not Run(tmp_path).last.exists()


@pytest.mark.parametrize(
    ("every_steps", "saved"), [("20", "the last checkpoint is from step 32"), ("null", "nothing was saved")]
)
def test_an_infinite_loss_ends_the_run_and_leaves_the_last_checkpoint(
    every_steps: str, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, steps = F.cross_entropy, []

    def diverge(*arguments: Any, **options: Any) -> Tensor:
        steps.append(len(steps) + 1)
        return loss(*arguments, **options) * (float("inf") if len(steps) == 34 else 1)

    monkeypatch.setattr(F, "cross_entropy", diverge)
    expected = rf"became NaN or infinite by step 48: try a smaller optimizer.lr, .*; {saved}"
    with pytest.raises(RunError, match=expected):
        train(compose(*SMALL, f"checkpoint.every_steps={every_steps}"), Run(tmp_path))
    assert not Run(tmp_path).result()
    if every_steps == "20":
        weights = read_checkpoint(Run(tmp_path).last)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_loss_that_is_not_finite_at_an_epochs_end_fails_the_run_though_the_weights_are(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DigitClassifier.compute_metrics

    def diverged(self: DigitClassifier, stage: str) -> dict[str, Tensor]:
        return real(self, stage) | {f"{stage}/loss": torch.tensor(float(value))}

    monkeypatch.setattr(DigitClassifier, "compute_metrics", diverged)
    with pytest.raises(RunError, match=r"^train/loss became NaN or infinite by step 63: .* nothing was saved$"):
        train(compose(*SMALL), Run(tmp_path))
    assert not Run(tmp_path).last.exists()


def test_a_test_loss_that_is_not_finite_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(self: DigitClassifier) -> None:
        self.log_dict({"test/loss": torch.inf, "test/acc": 0.1})

    monkeypatch.setattr(DigitClassifier, "on_test_epoch_end", diverged)
    with pytest.raises(RunError, match="^test/loss is inf: the training diverged"):
        train(compose(*SMALL), Run(tmp_path))
    assert not Run(tmp_path).result()


class Breaking(torch.optim.SGD):
    """Makes a weight infinite in the first epoch's last step, after a finite loss."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        *_, last = self.param_groups[0]["params"]
        if len(last) == 10:  # the network's: the rehearsal has a weight of its own
            type(self).steps += 1
        if type(self).steps == 63:
            with torch.no_grad():
                last[0] = float("inf")
        return loss


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    keys = ("optimizer=sgd", f"optimizer._target_={__name__}.Breaking")
    with pytest.raises(RunError, match=r"NaN or infinite by step 63: .*nothing was saved"):
        train(compose(*SMALL, *keys), Run(tmp_path))
    assert not Run(tmp_path).last.exists()


def test_the_seconds_of_an_interrupted_epoch_are_those_of_both_parts(tmp_path: Path) -> None:
    train(compose(*SMALL, "checkpoint.every_steps=20"), Run(tmp_path))
    state = read_checkpoint(Run(tmp_path).last)["callbacks"]["EpochLog"]
    assert state["elapsed"] >= state["seconds"][0] > 0


class Scores(pl.Trainer):
    """A trainer after each validation."""

    callback_metrics: dict[str, Tensor] = {}  # type: ignore[assignment]  # noqa: RUF012

    def __init__(self) -> None:
        self.saved: list[float] = []

    def save_checkpoint(self, filepath: Any, *_: Any) -> None:
        filepath.touch()
        self.saved.append(float(self.callback_metrics["val/acc"]))


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    scores, best = Scores(), SaveBest(tmp_path / "best.ckpt")
    for score in (0.5, 0.25, 0.75, 0.75):
        scores.callback_metrics["val/acc"] = torch.tensor(score)
        best.on_train_epoch_end(scores, DigitClassifier())
    assert scores.saved == [0.5, 0.75]
    resumed, elsewhere = SaveBest(tmp_path / "best.ckpt"), SaveBest(tmp_path / "none.ckpt")
    for each in (resumed, elsewhere):
        each.load_state_dict(best.state_dict())
        each.on_train_start(scores, DigitClassifier())
    assert (resumed.score, elsewhere.score) == (0.75, -inf)


def test_the_checkpoint_plugin_writes_and_reads_our_format(tmp_path: Path) -> None:
    state = {"state_dict": {}, "hyper_parameters": {"model": {}}}
    AtomicCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")
    assert archive.read(tmp_path / "a.ckpt")["hyper_parameters"] == {"model": {}}
    (tmp_path / "a.ckpt").write_bytes(b"damaged")
    with pytest.raises(InputError):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


def test_the_best_checkpoint_can_be_resumed(tmp_path: Path) -> None:
    train(compose(*SMALL, "data.val_size=500"), Run(tmp_path / "first"))
    best = Run(tmp_path / "first").best
    result = train(
        compose(*SMALL, "data.val_size=500", "trainer.max_epochs=2", f"resume={best}"), Run(tmp_path / "more")
    )
    assert result["epochs"] == 2
    assert (tmp_path / "more" / "metrics.csv").read_text().splitlines()[0].endswith("val/loss,val/acc,lr")
