"""patience ends a training that no longer improves, with the weights of its best epoch; it resumes exactly."""

from pathlib import Path

import pytest
import torch

from mnist_cnn.evaluate import evaluate
from mnist_cnn.runs.checkpoint import load_classifier, read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training import fit
from mnist_cnn.training.start import Options, train
from tests.faults.runs import difference

DATA = ("data.name=sample", "data.train_size=640", "data.val_size=500", "trainer=cpu", "threads=1")
STOPS = (*DATA, "model.channels=[4,8]", "optimizer.lr=0.03", "trainer.max_epochs=30", "patience=2")


@pytest.mark.parametrize("monitor", ["val/loss", "val/acc"])
def test_the_best_epoch_is_kept_and_tested(tmp_path: Path, monitor: str) -> None:
    run = Run(tmp_path)
    result = train(compose(*STOPS, f"monitor={monitor}"), run)
    values = [float(row[monitor]) for row in run.rows()]
    best = (min if monitor == "val/loss" else max)(values)
    assert len(values) < 30
    assert best not in values[-2:]
    assert result["best_epoch"] == values.index(best) + 1
    assert result[monitor] == best
    assert result["epochs"] == len(values) == result["best_epoch"] + 2
    kept = load_classifier(tmp_path).net.state_dict()
    expected = read_checkpoint(run.best)["state_dict"]
    assert all(torch.equal(part, expected[f"net.{name}"]) for name, part in kept.items())
    assert evaluate(tmp_path, device="cpu")["test/acc"] == result["test/acc"]


@pytest.mark.parametrize("pause", [1, 3, 30])
def test_a_run_that_was_interrupted_stops_where_it_would_have(tmp_path: Path, pause: int) -> None:
    settings = compose(*STOPS)
    train(settings, Run(tmp_path / "whole"))
    train(settings, Run(tmp_path / "cut"), Options(pause_after=pause))
    train(settings, Run(tmp_path / "cut"))
    assert difference(tmp_path / "cut", tmp_path / "whole") == ""


def test_a_run_that_stopped_but_was_not_tested_is_only_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = compose(*STOPS)
    train(settings, Run(tmp_path / "whole"))

    def die(*_: object) -> None:
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(fit.Training, "_result", die)
        with pytest.raises(KeyError):
            train(settings, Run(tmp_path / "cut"))
    train(settings, Run(tmp_path / "cut"))
    assert difference(tmp_path / "cut", tmp_path / "whole") == ""
