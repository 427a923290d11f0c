"""A logger that can show pictures gets the confusion matrix and the misread images; nothing else changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_cnn import DigitClassifier
from mnist_cnn.data.datasets import Dataset, Images
from mnist_cnn.errors import InputError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training import pictures
from mnist_cnn.training.start import train
from tests.recipes import NET, SMALL, TINY


def tensorboard(run: Run) -> EventAccumulator:
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return events


def test_tensorboard_shows_pictures_the_learning_rate_and_steps_and_the_weights_are_the_same(tmp_path: Path) -> None:
    plain, logged = Run(tmp_path / "plain"), Run(tmp_path / "logged")
    cosine = (*SMALL, "scheduler=cosine", "trainer.max_epochs=2")
    train(compose(*cosine), plain)
    train(compose(*cosine, "logger=tensorboard", "trainer.log_every_n_steps=32"), logged)
    events = tensorboard(logged)
    assert events.Tags()["images"] == ["confusion", "misread"]
    assert [(each.step, round(each.value, 6)) for each in events.Scalars("lr")] == [(63, 0.0005), (126, 0.0)]
    steps = events.Scalars("train/loss_step")
    assert [each.step for each in steps] == [32, 63, 95, 126]  # after two slabs of 16 steps, of which 15 in the last
    assert steps[-1].value < steps[0].value
    assert [each.step for each in events.Scalars("train/acc_step")] == [each.step for each in steps]
    assert logged.metrics.read_text() == plain.metrics.read_text()
    for name, weights in read_checkpoint(plain.last)["state_dict"].items():
        assert torch.equal(weights, read_checkpoint(logged.last)["state_dict"][name])


def test_by_default_only_epochs_are_logged(tmp_path: Path) -> None:
    train(compose(*SMALL, "logger=tensorboard"), Run(tmp_path))
    assert not [tag for tag in tensorboard(Run(tmp_path)).Tags()["scalars"] if tag.endswith("_step")]


def test_without_matplotlib_or_where_the_logger_fails_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no answer")

    attempts = {"matplotlib": ("find_spec", lambda name: None), "no answer": ("_log_figure", fail)}
    for reason, (name, replacement) in attempts.items():
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(pictures, name, replacement)
            result = train(compose(*TINY, "logger=tensorboard"), Run(tmp_path / name))
        (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert line.startswith("warning: no pictures for the logger: ")
        assert reason in line
        assert result["status"] == "complete"


class Wandb(WandbLogger):
    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def log_image(self, key: str, images: list[Any], step: int | None = None, **_: Any) -> None:
        self.shown += [f"{key} {type(image).__name__} {step}" for image in images]


class MLflow(MLFlowLogger):
    run_id = "run"

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    @property
    def experiment(self) -> Any:
        return self

    def log_figure(self, run_id: str, figure: object, file: str) -> None:
        self.shown.append(f"{run_id} {type(figure).__name__} {file}")


def test_wandb_and_mlflow_get_figures_and_other_loggers_nothing(tmp_path: Path, sample: Dataset) -> None:
    shown: list[str] = []
    loggers: list[Logger] = [CSVLogger(tmp_path), Wandb(shown), MLflow(shown)]
    few = Images(*(part[:100] for part in sample.test))
    pictures.log_pictures(loggers, DigitClassifier(NET), few, step=7)
    assert shown == ["confusion Figure 7", "run Figure confusion.png", "misread Figure 7", "run Figure misread.png"]


def test_steps_are_logged_only_to_a_logger(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trainer.log_every_n_steps needs a logger"):
        train(compose(*SMALL, "trainer.log_every_n_steps=16"), Run(tmp_path))
