"""Several steps to one of Lightning's batches: nobody may tell, and they stay one where somebody could."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from mnist_cnn import DigitClassifier, MNISTDataModule, signals
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.runs.archive import saved
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run, write_whole
from mnist_cnn.train import compose, train
from mnist_cnn.training.job import AT_ONCE, assemble
from tests.faults.configs import QUICK
from tests.faults.runs import difference

VALIDATED = ("data.val_size=500", "trainer.max_epochs=2", "optimizer=adam", "scheduler=onecycle")  # 55 steps an epoch


@pytest.mark.parametrize("at_once", [2, 27, 54, 100])  # of which the last execution has 1, 1, 1, 55
def test_steps_at_once_train_what_steps_one_by_one_train(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose(*QUICK, *VALIDATED)
    for folder, number in (("one by one", 1), ("at once", at_once)):
        monkeypatch.setattr("mnist_cnn.training.job.AT_ONCE", number)
        train(cfg, Run(tmp_path / folder))
    assert difference(tmp_path / "at once", tmp_path / "one by one") == ""
    ours, theirs = (read_checkpoint(Run(tmp_path / folder).last) for folder in ("at once", "one by one"))
    for part in ("global_step", "lr_schedulers", "MNISTDataModule"):
        assert ours[part] == theirs[part]
    (ours, theirs) = (each["loops"]["fit_loop"] for each in (ours, theirs))
    for part in ("epoch_loop.state_dict", "epoch_loop.batch_progress", "epoch_progress"):
        assert ours[part] == theirs[part]


@pytest.mark.parametrize(("first", "then"), [(16, 1), (1, 16), (16, 7)])
def test_a_run_cut_within_an_epoch_goes_on_with_more_or_fewer_at_once(
    first: int, then: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose(*QUICK, *VALIDATED)
    train(cfg, Run(tmp_path / "uncut"))
    monkeypatch.setattr("mnist_cnn.training.job.AT_ONCE", first)
    with monkeypatch.context() as patch:
        patch.setattr(signals, "received", lambda: 15)
        with pytest.raises(signals.Stopped):
            train(cfg, Run(tmp_path / "cut"))
    assert read_checkpoint(Run(tmp_path / "cut").last)["global_step"] == first
    monkeypatch.setattr("mnist_cnn.training.job.AT_ONCE", then)
    train(cfg, Run(tmp_path / "cut"))
    assert difference(tmp_path / "cut", tmp_path / "uncut") == ""


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), AT_ONCE),
        (("trainer.max_epochs=3", "data.batch_size=128", "model.padding=same", "scheduler=cosine"), AT_ONCE),
        (("experiment=fast", "data.name=sample"), AT_ONCE),
        (("model=dense",), AT_ONCE),
        (("model.pooling=none",), 1),
        (("data.batch_size=1000",), 1),
        (("checkpoint.every_steps=100",), 1),
        (("+trainer.gradient_clip_val=1",), 1),
        (("+trainer.accumulate_grad_batches=2",), 1),
        (("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"), 1),
    ],
)
def test_steps_are_taken_at_once_only_where_they_are_small_and_nobody_counts_batches(
    overrides: tuple[str, ...], steps: int, tmp_path: Path
) -> None:
    cfg = compose(*QUICK, *overrides)
    job = assemble(OmegaConf.to_container(cfg, resolve=True), Run(tmp_path))  # type: ignore[arg-type]
    assert job.data.steps_per_execution == steps


def test_an_option_from_the_environment_makes_each_step_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_TRAINER_GRADIENT_CLIP_VAL", "0.001")
    job = assemble(OmegaConf.to_container(compose(*QUICK), resolve=True), Run(tmp_path))  # type: ignore[arg-type]
    assert job.trainer.gradient_clip_val == 0.001
    assert job.data.steps_per_execution == 1


def test_state_that_was_channels_last_is_laid_out_as_the_weights_are(tmp_path: Path) -> None:
    cfg = compose(*QUICK, "optimizer=sgd", "+optimizer.fused=true", "trainer.max_epochs=2")
    train(cfg, Run(tmp_path / "uncut"))
    train(compose(*QUICK, "optimizer=sgd", "+optimizer.fused=true"), Run(tmp_path / "once"))
    checkpoint = read_checkpoint(Run(tmp_path / "once").last)
    for state in checkpoint["optimizer_states"][0]["state"].values():
        if state["momentum_buffer"].dim() == 4:
            state["momentum_buffer"] = state["momentum_buffer"].contiguous(memory_format=torch.channels_last)
    checkpoint["config"] |= {"trainer.max_epochs": 2}
    write_whole(tmp_path / "then.ckpt", saved(checkpoint))
    train(
        compose(
            *QUICK, "optimizer=sgd", "+optimizer.fused=true", "trainer.max_epochs=2", f"resume={tmp_path}/then.ckpt"
        ),
        Run(tmp_path / "resumed"),
    )
    ours, theirs = (read_checkpoint(Run(tmp_path / name).last)["state_dict"] for name in ("resumed", "uncut"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


QUIET = {"enable_checkpointing": False, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*have no .val_dataloader.")
def test_a_batch_of_a_stock_dataloader_is_a_step(sample: Dataset) -> None:
    loader = DataLoader(TensorDataset(*sample.train), batch_size=500)
    assert isinstance(next(iter(loader)), list)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **QUIET)
    trainer.fit(DigitClassifier(), loader)
    assert trainer.global_step == 8


def test_in_python_a_batch_is_a_step_unless_one_asks() -> None:
    counted = []

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            counted.append(trainer.global_step)

    data = MNISTDataModule(name="sample", batch_size=500)
    for steps in (1, 3):
        data.steps_per_execution = steps
        trainer = pl.Trainer(accelerator="cpu", max_epochs=1, callbacks=[Count()], limit_val_batches=0, **QUIET)
        trainer.fit(DigitClassifier(), data)
    assert counted == [1, 2, 3, 4, 5, 6, 7, 8, 3, 6, 8]
