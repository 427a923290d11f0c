import io
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from rich.console import Console

from mnist_cnn import MNISTDataModule
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training import progress
from mnist_cnn.training.progress import EpochLog
from mnist_cnn.training.slabs import SlabClassifier
from mnist_cnn.training.start import Options
from tests.recipes import SMALL


class LogNumber(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log("number", float(trainer.current_epoch))


def test_in_a_terminal_a_bar_shows_steps_loss_and_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    monkeypatch.setattr(progress, "_REFRESH", 0.0)
    train(compose(*SMALL), Run(tmp_path))
    for part in ("epoch 1/1", "/63", "train/loss", "train/acc"):
        assert part in screen.getvalue()


def test_a_sweep_shows_its_own_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True))
    train(compose(*SMALL), Run(tmp_path), Options(show_bar=False))
    assert screen.getvalue() == ""


def test_the_seconds_of_a_resumed_epoch_include_those_before_the_interruption(tmp_path: Path) -> None:
    epochs = EpochLog()
    epochs.load_state_dict({"rows": [], "seconds": [], "elapsed": 100.0})
    trainer, module = pl.Trainer(logger=False, enable_checkpointing=False), SlabClassifier(64)
    trainer.optimizers = [torch.optim.SGD(module.parameters(), 0.5)]
    trainer.fit_loop._combined_loader = CombinedLoader(MNISTDataModule(name="sample").train_dataloader())
    module.train_metrics.update(torch.tensor(1.0), torch.zeros(1, 10), torch.zeros(1, dtype=torch.int64))
    epochs.on_train_start(trainer, module)
    epochs.on_train_epoch_end(trainer, module)
    assert 100 <= epochs.seconds[0] < 110
    assert epochs.rows[0]["lr"] == 0.5


def test_the_learning_rate_and_what_callbacks_log_are_columns_of_metrics_csv(tmp_path: Path) -> None:
    callbacks = {"lr": "lightning.pytorch.callbacks.LearningRateMonitor", "own": f"{__name__}.LogNumber"}
    given = [f"+callbacks.{name}._target_={target}" for name, target in callbacks.items()]
    cosine = ("scheduler=cosine", "optimizer.lr=0.01", "trainer.max_epochs=2")
    run = Run(tmp_path)
    train(compose(*SMALL, *cosine, *given), run)
    curves = run.curves()
    assert curves["lr"] == pytest.approx([0.005, 0.0])  # after half of the steps, and after all
    assert curves["number"] == [0, 1]


def test_the_learning_rate_of_a_straight_schedule_ends_at_zero(tmp_path: Path) -> None:
    run = Run(tmp_path)
    train(compose(*SMALL, "scheduler=onecycle", "+scheduler.anneal_strategy=linear"), run)
    assert run.rows()[0]["lr"] == "0.0"


def test_a_run_from_before_a_column_existed_is_resumed(tmp_path: Path) -> None:
    run, once = Run(tmp_path), compose(*SMALL)
    train(once, run, Options(pause_after=1))
    checkpoint = torch.load(run.last, weights_only=True)
    for row in checkpoint["callbacks"]["EpochLog"]["rows"]:
        del row["lr"]
    torch.save(checkpoint, run.last)
    train(compose(*SMALL, "trainer.max_epochs=2"), run)
    assert [row["lr"] for row in run.rows()] == ["", "0.001"]
    assert {"train/loss", "train/acc"} <= run.curves().keys()
    assert "lr" not in run.curves()


def test_without_a_terminal_each_epoch_prints_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="mnist_cnn")
    result = train(compose(*SMALL), Run(tmp_path))
    (line,) = [message for message in caplog.messages if message.startswith("epoch")]
    assert line.startswith("epoch 1/1  63 steps  ")
    assert line.endswith("train/loss {train/loss:.4f}  train/acc {train/acc:.4f}".format(**result))


def test_a_metrics_file_locked_by_another_program_is_written_after_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On Windows a spreadsheet keeps a file that it shows from being replaced."""

    def write(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) < 3:
            raise PermissionError(13, "Permission denied", str(path))
        real(path, content)

    calls, real = list[Path](), progress.write_atomically
    monkeypatch.setattr(progress, "write_atomically", write)
    run = Run(tmp_path)
    train(compose(*SMALL, "data.train_size=64", "trainer.max_epochs=3"), run)
    assert [row["epoch"] for row in run.rows()] == ["1", "2", "3"]
    assert caplog.messages.count(f"warning: {run.metrics} cannot be written: Permission denied") == 1
