import io
from pathlib import Path

import pytest
from rich.console import Console

from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training import progress

ONE_EPOCH = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1", "model.channels=[4,8]")


def test_in_a_terminal_a_bar_shows_steps_loss_and_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    monkeypatch.setattr(progress, "_REFRESH", 0.0)
    train(compose(*ONE_EPOCH), Run(tmp_path))
    for part in ("epoch 1/1", "/63", "train/loss", "train/acc"):
        assert part in screen.getvalue()


def test_elsewhere_there_is_a_line_per_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="mnist_cnn")
    result = train(compose(*ONE_EPOCH), Run(tmp_path))
    (line,) = [message for message in caplog.messages if message.startswith("epoch")]
    assert line.startswith("epoch 1/1  63 steps  ")
    assert line.endswith("train/loss {train/loss:.4f}  train/acc {train/acc:.4f}".format(**result))
