"""The tables that the benchmarks print."""

import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import charts, fast, nets, trainings
from benchmarks.compare import __main__ as compare
from benchmarks.records import __main__ as records
from benchmarks.records import book
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.model.registry import build_net, register_net
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.settings import compose
from tests.recipes import TINY


def test_the_table_has_medians_and_ratios_round_by_round() -> None:
    def epochs(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds": each, "MiB": 500} for each in seconds]

    taken = {"theirs": epochs(9.38 * 4, 9.38 * 2, 9.38 * 3), "ours": epochs(9.38, 9.38 * 2, 9.38)}
    _, ours, theirs = compare.table(taken, flops=compare.FLOP / 5e-3).splitlines()
    assert ours.split() == ["ours", "10.0", "10.0", "-", "20.0", "1.00", "1.00", "-", "1.00", "50%", "500"]
    assert theirs.split() == ["theirs", "30.0", "20.0", "-", "40.0", "3.00", "1.00", "-", "4.00", "17%", "500"]


def test_every_peer_is_a_module_that_is_there() -> None:
    folder = Path(compare.__file__).parent
    assert all((folder / f"{peer.module}.py").is_file() for peer in compare.peers(Path("data"), Path("x.npz")).values())


def test_the_time_to_an_accuracy_is_keras_epochs_to_the_same_mean() -> None:
    fits = [[0.98, 0.991, *[0.992] * 12], [0.985, 0.989, *[0.992] * 12]]
    keras = [[{"seconds": 10.0 + (n == 0), "test/acc": each} for n, each in enumerate(fit)] for fit in fits]
    ours = {"1 epoch": [(0.990, 1.0), (0.992, 3.0)], "3 epochs": [(0.993, 8.0), (0.994, 8.0)]}
    head, first, _, *goals = fast.report(ours, keras).splitlines()
    assert head.startswith("Keras, 10.0 s an epoch, n = 2: 0.9825  0.9900  0.9920")
    assert first == "1 epoch: 0.9910 ± 0.0014 (0.9900 - 0.9920, n = 2) in 2.0 s (1.0 - 3.0)"
    assert goals[0] == "99.00%: 1 epoch, 2.0 s; Keras 2 epochs, 20 s, 10.0 times as long (6.7 - 20.0)"
    assert goals[1] == "99.30%: 3 epochs, 8.0 s; Keras over 14 epochs, 140 s, over 17.5 times as long (17.5 - 17.5)"
    assert goals[2] == "99.40%: not reached; Keras over 14 epochs, 140 s"


def test_the_charts_read_means_and_spreads_from_cells() -> None:
    assert charts.values("0.951 ± 0.009, 0.845 ± 0.022") == [(0.951, 0.009), (0.845, 0.022)]
    assert charts.numbers("3,440") == [3440]
    assert charts.numbers("turned by 15, 30, 45 degrees") == [15, 30, 45]


def test_every_chart_is_drawn_from_its_table_in_the_readme() -> None:
    bars = [text.get_text() for text in charts.compare().axes[0].texts]
    assert bars == [cells[0] for cells in charts.read_table("| ms a step |").values()][::-1]
    for name, chart in charts.CHARTS.items():
        assert all(axes.has_data() for axes in chart().axes), name
        assert f'srcset="{name}-dark.png"' in (charts.FOLDER / "README.md").read_text("utf-8")


LOG = """python -m mnist_cnn.train experiment=fast

data.batch_size: 96

seed 0: test/acc 0.9941, epochs 1, seconds 14.5, threads 2, 2026-11-29, commit abc, CPU, torch 2.14.1
epoch 1/1  625 steps  10.1 s  16.2 ms/step  train/loss 1.0247  train/acc 0.9456
seed 1: test/acc 0.9945, epochs 1, seconds 15.5, threads 2, 2026-11-30, commit abc, CPU, torch 2.14.1
epoch 1/1  625 steps  10.1 s  16.2 ms/step  train/loss 1.0247  train/acc 0.9456
"""


def test_a_record_is_read_from_its_log() -> None:
    expected = ("fast", "2026-11-30", "python -m mnist_cnn.train experiment=fast", 1, 2, [0.9941, 0.9945], [14.5, 15.5])
    found = book.parse(LOG, "fast")
    assert found == book.Record(*expected, notebooks=False)  # its log does not have the settings of the network
    assert found.p_below(0.9943) == pytest.approx(0.5)
    assert str(found).startswith("fast: 0.99430 ± 0.00028, 2 of 10 seeds, 15.0 s; no record: it is not the notebook's")
    assert all(record.notebooks for record in book.read_all())


@pytest.mark.parametrize(
    ("old", "new"),
    [("seed 1", "seed 0"), ("threads 2", "threads 1"), ("epochs 1", "epochs 3"), ("abc", "abd"), ("seed", "sad")],
)
def test_a_log_of_unlike_trainings_is_refused(old: str, new: str) -> None:
    first, last = LOG.split("seed 1")
    text = (first if new != "sad" else "") + f"seed 1{last}".replace(old, new)
    with pytest.raises(InputError, match="fast is no log of different seeds under the same conditions"):
        book.parse(text, "fast")


@pytest.mark.parametrize("cut", [1, 30, 75])
def test_a_log_that_a_full_disk_cut_is_refused(cut: int) -> None:
    with pytest.raises(InputError, match="fast lacks lines: it was cut off"):
        book.parse(LOG[:-cut], "fast")
    with pytest.raises(InputError, match="fast lacks lines: it was cut off"):
        book.parse(LOG[: LOG.index(", CPU")] + LOG[LOG.index("seed 1") :], "fast")  # and continued in the same line


def test_what_is_left_of_a_training_is_kept_and_what_is_not_of_the_same_code_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "FOLDER", tmp_path)
    settings = decisive(compose(*TINY).to_dict())
    result = {
        "test/acc": 0.9,
        "epochs": 1,
        "seconds": 1.0,
        "threads": torch.get_num_threads(),
        "device_name": "CPU",
        "versions": {},
    }
    result |= {"settings": settings, "log": "epoch 1/1"}

    def train(seed: int, overrides: list[str], run: Path) -> dict[str, Any]:
        if seed == 2:
            raise InputError("seed 2 failed")
        return {**result, "settings": {**settings, "optimizer.lr": 9.0}} if seed == 3 else result

    monkeypatch.setattr(records, "train", train)
    with pytest.raises(InputError, match="seed 2 failed"):
        records.record("tiny", TINY, seeds=3, jobs=1, data_dir=tmp_path, runs=None)
    assert len(book.read_all()[0].accuracies) == 2
    monkeypatch.setattr(records, "train", lambda seed, overrides, run: train(3, overrides, run))
    with pytest.raises(InputError, match="has changed since the first seed"):
        records.record("tiny", TINY, seeds=3, jobs=1, data_dir=tmp_path, runs=None)


def test_a_training_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^seed 7 failed: optimizer.lr=-1"):
        trainings.train(7, ["optimizer.lr=-1"], tmp_path)


def test_the_record_of_a_threshold_is_the_fastest_whose_mean_is_clearly_above_it() -> None:
    def record(name: str, accuracies: list[float], seconds: float, threads: int = 2) -> book.Record:
        return book.Record(name, "2026-11-29", f"train {name}", 1, threads, accuracies, [seconds] * len(accuracies))

    slow = record("slow", [0.9951, 0.9953] * 5, 30.0)
    fast = record("fast", [0.9911, 0.9913] * 5, 10.0, threads=1)
    two = record("two", [0.9911, 0.9913] * 5, 9.0)
    lucky = record("lucky", [0.9990, 0.9820] * 5, 1.0)
    few = record("few", [0.9951, 0.9953] * 4, 1.0)
    other = replace(record("other", [0.9975, 0.9977] * 5, 1.0), notebooks=False)
    rows = {row.split("|")[1].strip(): row for row in book.table([slow, fast, two, lucky, few, other]).splitlines()[2:]}
    assert "fast.txt" in rows["99.00%"]
    assert all("slow.txt" in rows[each] for each in ("99.30%", "99.40%", "99.50%"))
    assert "none yet" in rows["99.60%"]


def test_the_table_of_records_is_that_of_the_logs() -> None:
    assert book.table(book.read_all()) in (book.FOLDER / "README.md").read_text("utf-8")


def test_a_record_is_trained_written_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "FOLDER", tmp_path)
    overrides = [*TINY, "trainer=cpu"]
    records.record("tiny", overrides, seeds=1, jobs=2, data_dir=tmp_path / "data", runs=None)
    records.record("tiny", overrides, seeds=2, jobs=2, data_dir=tmp_path / "data", runs=tmp_path / "runs")
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["1"]
    with pytest.raises(InputError, match="another command or other settings: choose another name"):
        records.record("tiny", [*overrides, "optimizer=sgd"], seeds=3, jobs=1, data_dir=tmp_path / "data", runs=None)
    text = (tmp_path / "tiny.txt").read_text()
    (tmp_path / "tiny.txt").write_text(text.replace('data.name: "sample"', 'data.name: "mnist"'))
    with pytest.raises(InputError, match="another command or other settings: choose another name"):
        records.record("tiny", overrides, seeds=3, jobs=1, data_dir=tmp_path / "data", runs=None)
    (tmp_path / "tiny.txt").write_text(text.replace("commit ", "commit 0"))
    with pytest.raises(InputError, match="is not of commit"):
        records.record("tiny", overrides, seeds=3, jobs=1, data_dir=tmp_path / "data", runs=None)
    (tmp_path / "tiny.txt").write_text(text)
    assert text.startswith(f"python -m mnist_cnn.train {shlex.join(overrides)}\n\nlabel_smoothing: 0.0\n")
    assert '\ndata.name: "sample"\n' in text
    assert len(re.findall("^epoch 1/1 +1 steps", text, re.MULTILINE)) == 2
    assert len(book.read_all()[0].accuracies) == 2


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("experiment=fast", "data.name=sample", "experiment=fast cannot name a log"),
        ("../fast", "data.name=sample", "../fast cannot name a log"),
        ("mine", "seed=5", "seed=5 is set by benchmarks.records"),
        ("mine", "optimizer.lr=-1", "optimizer.lr=-1"),
    ],
)
def test_a_wrong_record_is_refused_before_it_is_trained(
    name: str, override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "FOLDER", tmp_path)
    monkeypatch.setattr(records, "train_all", None)
    with pytest.raises(InputError, match=re.escape(message)):
        records.record(name, [override], seeds=1, jobs=1, data_dir=tmp_path, runs=None)


def test_an_error_ends_the_trainings_that_run(tmp_path: Path) -> None:
    def train_one(job: int) -> dict[str, int]:
        if job == 0:
            while all(process.poll() is not None for process in trainings._trainings):
                time.sleep(0.01)
            raise InputError("refused")
        return trainings.train(job, [*TINY, "trainer.max_epochs=100000", "trainer=cpu"], tmp_path / str(job))

    with pytest.raises(InputError, match="refused"):
        trainings.train_all([0, 1], train_one, lambda job, result: None, jobs=2)
    assert not (tmp_path / "1" / "result.json").exists()


def test_after_an_error_no_queued_training_begins() -> None:
    begun: list[int] = []

    def train_one(job: int) -> dict[str, int]:
        begun.append(job)
        time.sleep(0.01)
        return {"job": job}

    def keep(job: int, result: dict[str, int]) -> None:
        assert result == {"job": job}
        raise InputError("refused")

    with pytest.raises(InputError, match="refused"):
        trainings.train_all(range(1000), train_one, keep, jobs=2)
    assert len(begun) < 100


def test_the_table_of_networks_has_means_and_seconds() -> None:
    results = {
        f"{recipe}, {net}, {seed}": {"test/acc": 0.99 + 0.001 * seed, "seconds": 10.0 + seed, "parameters": 87_850}
        for recipe in nets.RECIPES
        for net in nets.NETS
        for seed in range(3)
    }
    head, _, *rows = nets.table(results, ["fast", "3 epochs"]).splitlines()
    assert head == "| network | weights | fast | 3 epochs |"
    cell = "0.99100 ± 0.00100 (n = 3), 11 s"
    assert rows == [f"| {net} | 87,850 | {cell} | {cell} |" for net in nets.NETS]


def test_no_network_has_more_than_105_000_weights() -> None:
    register_net("benchmarks.nets.BeautifulMNIST")
    built = {name: build_net(**compose(*overrides).model.to_dict()) for name, overrides in nets.NETS.items()}
    assert max(map(count_parameters, built.values())) <= 105_000
    assert count_parameters(built["tinygrad's"]) == 87_850  # as in tinygrad's own example
