import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_cnn import report
from mnist_cnn.runs.directory import Run
from mnist_cnn.searches.report import report_search
from mnist_cnn.searches.trials import add_trial
from tests.conftest import Answer, one_line

SCORES = {0: (0.7,), 1: (0.8, 0.85, 0.9), 2: (0.75,)}  # with a reduction of 3, trials pause after epoch 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search whose second trial was promoted to the last of three epochs, and tested."""
    search = {"seed": 0, "sampler": "tpe", "pruner": "halving", "reduction": 3}
    search |= {"space": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "data.batch_size": [32, 64]}}
    overrides = ["data.name=sample", "data.val_size=500", "trainer.max_epochs=3"]
    (tmp_path / "search.json").write_text(json.dumps({**search, "overrides": overrides, "conf_hash": "x"}))
    for number, scores in SCORES.items():
        run = add_trial(tmp_path, number, {"optimizer.lr": 0.001 * (number + 1), "data.batch_size": 64}).run
        rows = [f"{epoch},0.5,0.9,0.4,{score}" for epoch, score in enumerate(scores, 1)]
        run.metrics.write_text("\n".join(["epoch,train/loss,train/acc,val/loss,val/acc", *rows]))
        run.last.parent.mkdir()
        run.last.touch()
    Run(tmp_path / "trial-001").finish({"status": "complete", "dataset": "mnist-sample", "test/acc": 0.91})
    return tmp_path


def test_the_page_shows_trials_importances_and_the_winner(folder: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(report.main, folder)
    assert (answer.status, answer.err) == (0, "")
    page = (folder / "report.html").read_text()
    assert "Trial 1 is the best of those trained to the end: val/acc 0.9000; test/acc 0.9100, measured once." in page
    assert re.findall(r">(paused|complete|interrupted)", page) == ["complete", "paused", "paused"]
    assert re.search(r"Importance for val/acc after 1 epoch: .*With 3 trials, this says little\.", page)
    assert re.findall(r'<h2 id="(\w+)">', page) == ["trials", "curves"]
    assert "optimizer.lr=0.002 data.batch_size=64" in page


def test_a_search_without_a_winner_says_so(folder: Path) -> None:
    Run(folder / "trial-001").forget_result(even_if_complete=True)
    (folder / "trial-001" / "metrics.csv").write_text("epoch,train/loss,train/acc,val/loss,val/acc\n1,0.5,0.9,0.4,0.8")
    page = report_search(folder).html()
    assert "No trial has been trained to the end, 3 epochs, yet." in page
    assert "(best)" not in page


def test_importances_need_optuna(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_cnn.searches.report.find_spec", lambda _: None)
    assert "Importance" not in report_search(folder).html()


@pytest.mark.parametrize("damage", ["{}", "[", '{"overrides": [], "space": 3}'])
def test_a_damaged_search_is_one_line(damage: str, folder: Path, cli: Callable[..., Answer]) -> None:
    (folder / "search.json").write_text(damage)
    answer = cli(report.main, folder)
    assert answer.status == 2
    assert "damaged" in one_line(answer.err)


def test_a_search_without_an_epoch_is_one_line(folder: Path, cli: Callable[..., Answer]) -> None:
    for file in folder.glob("trial-*/metrics.csv"):
        file.unlink()
    answer = cli(report.main, folder)
    assert (answer.status, one_line(answer.err).endswith("there is nothing to show yet\n")) == (2, True)
