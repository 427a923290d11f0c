import csv
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_cnn import evaluate, export, page
from mnist_cnn.data import datasets
from mnist_cnn.data.download import Unreachable
from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.files import write_atomically
from mnist_cnn.keras.__main__ import main as keras_main
from mnist_cnn.model import registry
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import command, train
from tests.conftest import Answer, Trained, one_line, posix
from tests.faults.configs import QUICK, WRONG

TINY = (*QUICK, "model.channels=[4,8]")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_the_notebooks_recipe_learns_the_sample(trained: Trained) -> None:
    result = trained.result
    assert result["test/acc"] > 0.88  # over seeds 0-7: 0.954 ± 0.017 (0.922 to 0.971), so 4 sd below the mean
    assert (result["parameters"], result["epochs"], result["steps"]) == (104_202, 5, 5 * 63)
    assert (result["status"], result["dataset"], result["test_images"]) == ("complete", "mnist-sample", 1000)
    assert len(result["seconds_per_epoch"]) == 5
    assert torch.__version__.startswith(result["versions"]["torch"])


def test_the_run_directory_holds_what_other_commands_read(trained: Trained) -> None:
    written_by_others = Path("checkpoints/last.familiarity.npz")
    assert [file for file in files(trained.path) if file != written_by_others] == [
        Path(".hydra"),
        Path(".hydra/config.yaml"),
        Path(".hydra/overrides.yaml"),
        Path(".lock"),
        Path("checkpoints"),
        Path("checkpoints/last.ckpt"),
        Path("metrics.csv"),
        Path("result.json"),
    ]
    assert json.loads((trained.path / "result.json").read_text()) == trained.result


def test_metrics_csv_has_a_row_per_epoch(trained: Trained) -> None:
    with (trained.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [(str(n), str(63 * n)) for n in range(1, 6)]
    assert float(rows[-1]["train/loss"]) == trained.result["train/loss"] < float(rows[0]["train/loss"])


def test_a_training_ends_with_its_report_or_with_how_to_make_it(here: Path, cli: Callable[..., Answer]) -> None:
    quick = ("model=dense", "model.hidden=4", "data.name=sample", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert cli(command, *quick).out.endswith("report: python -m mnist_cnn.report run\n")
    assert cli(command, *quick, "report=true").out.endswith("report: run/report.html\n")
    assert "<h2" in (here / "run" / "report.html").read_text()


def test_a_report_that_cannot_be_made_is_refused_before_training(
    here: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cnn.reports.report.find_spec", lambda _: None)
    for more in ([], ["-m", "seed=0,1"]):
        answer = cli(command, *TINY, "report=true", *more)
        assert answer.status == 2
        assert one_line(answer.err) == 'error: a report needs matplotlib: pip install "mnist_cnn[report]"\n'
    assert files(here) == []


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    first, again = (train(compose(*TINY), Run(tmp_path / name)) for name in "ab")
    assert {key: first[key] for key in first if "/" in key} == {key: again[key] for key in again if "/" in key}


def test_a_complete_run_is_not_trained_again(trained: Trained) -> None:
    before = Run(trained.path).last.stat().st_mtime_ns
    assert train(compose("data.name=sample", "trainer=cpu"), Run(trained.path)) == trained.result
    assert Run(trained.path).last.stat().st_mtime_ns == before


def test_validation_images_give_a_best_checkpoint_and_its_score(tmp_path: Path) -> None:
    result = train(compose(*TINY, "data.val_size=500"), Run(tmp_path))
    assert Run(tmp_path).best.is_file()
    assert {"val/loss", "val/acc"} <= set(result)
    score = read_checkpoint(Run(tmp_path).last)["callbacks"]["SaveBest"]["score"]  # of its own epoch
    assert score == pytest.approx(result["val/acc"])


def test_mnist_asked_for_is_not_answered_by_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise Unreachable("no network")

    monkeypatch.setattr(datasets, "fetch", unreachable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNIST_CNN_DATA", raising=False)
    keys = ("trainer=cpu", "trainer.max_epochs=1", "model.channels=[4,8]")
    for _ in range(2):
        assert train(compose(*keys), Run(tmp_path / "run"))["dataset"] == "mnist-sample"
    with pytest.raises(InputError, match="no network"):
        train(compose(*keys, "data.fallback=error"), Run(tmp_path / "run"))
    with pytest.raises(InputError, match="^data.dir=elsewhere does not hold mnist, and no network$"):
        train(compose(*keys, "data.dir=elsewhere"), Run(tmp_path / "another"))


def test_a_checkpoint_that_cannot_be_resumed_costs_nothing(tmp_path: Path) -> None:
    run, bad = Run(tmp_path / "run"), tmp_path / "bad.ckpt"
    train(compose(*TINY), run)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    good = read_checkpoint(run.last)
    for name, state in {"SaveLast": {"random": torch.zeros(3)}, "EpochLog": {"rows": 3}}.items():
        bad.write_bytes(archive.to_bytes(good | {"callbacks": good["callbacks"] | {name: state}}))
        with pytest.raises(InputError, match="cannot be resumed"):
            train(compose(*TINY, "trainer.max_epochs=2", f"resume={bad}"), run)
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before


def test_a_disk_that_is_full_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: bytes) -> None:
        if path.name == "last.ckpt":
            raise OSError(28, "No space left on device", str(path))
        write_atomically(path, _)

    monkeypatch.setattr("mnist_cnn.training.saving.write_atomically", full)
    with pytest.raises(
        RunError, match=r"last.ckpt cannot be read or written: No space left on device; nothing was saved"
    ):
        train(compose(*TINY), Run(tmp_path))


def test_two_processes_do_not_train_in_one_directory(trained: Trained) -> None:
    with Run(trained.path).locked(), pytest.raises(InputError, match="in use by another process"):
        train(compose("data.name=sample", "trainer=cpu", "resume=never"), Run(trained.path))


def test_the_latest_run_can_be_resumed_in_a_new_directory(here: Path, cli: Callable[..., Answer]) -> None:
    assert cli(command, *TINY).status == 0
    more = cli(command, *TINY, "trainer.max_epochs=2", "resume=outputs/latest", "hydra.run.dir=outputs/more")
    assert more.status == 0
    assert "epoch 2/2" in more.out
    assert "epoch 1/2" not in more.out


def test_without_a_logger_there_is_no_metrics_csv(tmp_path: Path) -> None:
    train(compose(*TINY, "logger=none"), Run(tmp_path))
    assert not (tmp_path / "metrics.csv").exists()


def test_tensorboard_writes_into_the_run_directory(tmp_path: Path) -> None:
    train(compose(*TINY, "logger=tensorboard"), Run(tmp_path))
    assert list(tmp_path.glob("tensorboard/events*"))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (logged,) = events.Scalars("train/loss")
    assert str(logged.step) == Run(tmp_path).rows()[0]["step"]  # the optimizer's, not Lightning's batches
    settings = (tmp_path / "tensorboard" / "hparams.yaml").read_text()
    assert all(f"{key}:" in settings for key in decisive(compose(*TINY).to_dict()))


def test_the_command_trains_and_links_latest(here: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(command, *QUICK)
    assert answer.status == 0
    assert "total: 104,202 parameters" in answer.out
    assert "epoch 1/1  63 steps" in answer.out
    assert answer.out.splitlines()[-2].startswith("mnist-sample: test/acc 0.")
    result = json.loads((here / "outputs" / "latest" / "result.json").read_text())
    assert result["overrides"] == list(QUICK)
    assert logging.getLogger("matplotlib").level == logging.WARNING  # it reports its list of fonts in a first run


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("overrides", [pytest.param(each, marks=[posix] * each.count("=/")) for each in WRONG])
def test_bad_input_is_one_line_status_2_and_nothing_written(
    overrides: str, here: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli(command, *QUICK, *overrides.split())
    assert answer.status == 2
    assert WRONG[overrides] in one_line(answer.err)
    assert not list(here.iterdir())


def test_a_run_directory_of_another_configuration_is_left_alone(
    trained: Trained, here: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli(command, "data.name=sample", f"hydra.run.dir={trained.path}", "model.padding=same")
    assert answer.status == 2
    assert "trained with model.padding=valid, now it is same" in one_line(answer.err)
    assert Run(trained.path).result() == trained.result


def test_several_processes_train_what_one_trains_with_their_batches_together(here: Path) -> None:
    # few units with ReLU: where one is nearly zero, rounding decides whether its gradient is
    small = ("data.name=sample", "trainer.max_epochs=1", "model=dense", "model.hidden=8", "optimizer=sgd")
    ddp = (*small, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32")
    subprocess.run([sys.executable, "-m", "mnist_cnn.train", *ddp], check=True, timeout=120)
    together = Run(here / "outputs" / "latest")
    alone = train(compose(*small, "trainer=cpu"), Run(here / "alone"))
    assert together.result()["steps"] == alone["steps"] == 63
    for name in ("train/loss", "train/acc", "test/loss", "test/acc"):  # each image counts once
        assert together.result()[name] == pytest.approx(alone[name], rel=1e-4, abs=2e-3)
    ours, theirs = (read_checkpoint(run.last)["state_dict"] for run in (together, Run(here / "alone")))
    for key, value in theirs.items():  # gradients are summed in another order
        torch.testing.assert_close(ours[key], value, atol=1e-6, rtol=1e-5)


def test_a_stale_rank_changes_nothing(here: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert "test/acc" in cli(command, *TINY, "hydra.run.dir=outputs/seed=0").out
    assert (here / "outputs" / "seed=0" / ".lock").is_file()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=0,1", "seed=0,1 has several values: add -m to train with each; a value that is a list is written [a,b]"),
        ("--helo", "there is no option --helo (did you mean --help?)"),
        ("hydra.run.dir=outputs/latest", "outputs/latest is the link to the newest run: choose another hydra.run.dir"),
    ],
)
def test_a_wrong_argument_writes_nothing(argument: str, message: str, here: Path, cli: Callable[..., Answer]) -> None:
    answer = cli(command, *TINY, argument)
    assert (answer.status, answer.err) == (2, f"error: {message}\n")
    assert not list(here.iterdir())


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from mnist_cnn.train import command; sys.argv[1:] = ['--help']\n"
    check = "try: command()\nexcept SystemExit: print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True).stdout
    assert "\noptimizer: adam, adamw, muon, nadam, rmsprop, sgd\n" in shown
    assert "\nsearch:" not in shown  # which another command reads
    assert shown.splitlines()[-1] == "False"


def test_a_wrong_value_does_not_wait_for_torch() -> None:
    code = "import sys; from mnist_cnn.train import command; sys.argv[1:] = ['optimizer.lr=-1']\n"
    check = "try: command()\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.full
def test_a_quarter_of_mnist_teaches_92_percent_of_its_test_images(mnist_dir: Path, tmp_path: Path) -> None:
    quarter = (f"data.dir={mnist_dir}", "data.train_size=15000", "trainer=cpu", "trainer.max_epochs=1")
    result = train(compose(*quarter), Run(tmp_path))
    assert (result["dataset"], result["steps"], result["test_images"]) == ("mnist", 235, 10_000)
    assert result["test/acc"] > 0.92  # 0.937 measured


def test_ones_own_network_is_named_by_its_class_in_every_command(
    here: Path, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "my_networks.py").write_text(
        "from torch import nn\n"
        "class Wide(nn.Sequential):\n"
        "    def __init__(self, width=3):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.Tanh(), nn.Linear(width, 10))\n"
    )
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(registry, "NETS", dict(registry.NETS))
    mine = ("model=own", "model.name=my_networks.Wide", "+model.width=5", "hydra.run.dir=mine")
    assert cli(command, *QUICK, *mine).status == 0
    result = Run(here / "mine").result()
    assert (result["status"], result["settings"]["model.width"]) == ("complete", 5)
    assert cli(evaluate.main, "mine", "--json").status == 0
    assert "layer 2 of this network: Tanh()" in one_line(cli(page.main, "mine").err)
    assert "cannot be written for Keras" in one_line(cli(keras_main, "export", "mine", "a.keras").err)
    assert cli(export.main, "mine", "a.safetensors").status == 0
    assert "Wide(width=5)  # from my_networks import Wide" in Path("MODEL_CARD.md").read_text()
    del registry.NETS["my_networks.Wide"]
    refused = one_line(cli(evaluate.main, "mine").err)
    assert "set MNIST_CNN_NETS=my_networks.Wide" in refused
    monkeypatch.setenv("MNIST_CNN_NETS", "my_networks.Wide")
    assert cli(evaluate.main, "mine").status == 0
    wrong = cli(command, *QUICK, "model=own", "model.name=my_networks.Wde")
    assert (wrong.status, "model.name=my_networks.Wde cannot be imported" in one_line(wrong.err)) == (2, True)
    missing = cli(command, *QUICK, "model=own")
    assert (missing.status, "model.name is missing" in one_line(missing.err)) == (2, True)


@pytest.mark.parametrize(("interval", "rates"), [("epoch", [0.5, 0.25]), ("step", [0.5**4, 0.5**8])])
def test_a_scheduler_of_torchs_says_when_it_advances(
    interval: str, rates: list[float], here: Path, cli: Callable[..., Answer]
) -> None:
    halve = ("+scheduler._target_=torch.optim.lr_scheduler.StepLR", "+scheduler.step_size=1", "+scheduler.gamma=0.5")
    few = ("data.train_size=256", "data.batch_size=64", "optimizer.lr=1.0", "optimizer=sgd", "model=dense")
    refused = cli(command, *QUICK, *few, *halve)
    assert (refused.status, "give +scheduler.interval=epoch, or step" in one_line(refused.err)) == (2, True)
    for epochs, rate in enumerate(rates, start=1):
        more = (f"+scheduler.interval={interval}", f"trainer.max_epochs={epochs}", f"hydra.run.dir={epochs}")
        assert cli(command, *QUICK, *few, *halve, *more).status == 0
        saved = read_checkpoint(here / str(epochs) / "checkpoints" / "last.ckpt")
        assert saved["lr_schedulers"][0]["_last_lr"] == [rate]


def test_reduce_on_plateau_watches_the_loss_of_whole_epochs(here: Path, cli: Callable[..., Answer]) -> None:
    plateau = ("+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+scheduler.patience=0")
    refused = cli(command, *QUICK, *plateau, "+scheduler.interval=step")
    assert "give scheduler.interval=epoch" in one_line(refused.err)
    never_better = (*plateau, "+scheduler.threshold=10", "+scheduler.threshold_mode=abs", "+scheduler.interval=epoch")
    kept = ("data.val_size=100", "trainer.max_epochs=3", "hydra.run.dir=mine", "optimizer.lr=0.001")
    assert cli(command, *QUICK, *never_better, *kept).status == 0
    (state,) = read_checkpoint(here / "mine" / "checkpoints" / "last.ckpt")["lr_schedulers"]
    assert state["_last_lr"][0] < 0.001
