from pathlib import Path

import pytest
import torch

from mnist_cnn import MNISTDataModule
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training import trainer
from mnist_cnn.training.assemble import assemble
from mnist_cnn.training.fit import Training
from mnist_cnn.training.start import Options, train
from tests.recipes import QUICK, TINY


def assembled(path: Path, *overrides: str) -> Training:
    return assemble(compose(*QUICK, *overrides), Run(path), Options())


def test_nothing_is_written_before_training_starts(tmp_path: Path) -> None:
    assembled(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_the_initial_weights(tmp_path: Path) -> None:
    first, again, other = (assembled(tmp_path, f"seed={seed}").classifier.net.dense.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), 16),
        (("model.padding=same", "data.batch_size=128"), 16),
        (("checkpoint.every_steps=1",), 16),
        (("model.pooling=none",), 1),  # 712,202 parameters x 64
        (("data.batch_size=1000",), 1),
    ],
)
def test_slabs_are_made_where_steps_are_short(overrides: tuple[str, ...], steps: int, tmp_path: Path) -> None:
    made = assembled(tmp_path, *overrides)
    assert made.data.batch_size == steps * made.settings.data.batch_size == steps * made.classifier.batch_size


def test_the_scheduler_is_told_the_steps_of_the_whole_run(tmp_path: Path) -> None:
    made = assembled(tmp_path, "scheduler=cosine", "trainer.max_epochs=3", "data.val_size=500")
    configured = made.classifier.configure_optimizers()
    assert isinstance(configured, dict)
    assert configured["lr_scheduler"]["scheduler"].T_max == 3 * 55  # 3,500 images in batches of 64


@pytest.mark.parametrize(("val_size", "expected"), [(0, 0), (500, 1.0)])
def test_validation_runs_only_where_images_are_held_out(val_size: int, expected: float, tmp_path: Path) -> None:
    assert assembled(tmp_path, f"data.val_size={val_size}").trainer.limit_val_batches == expected


def test_gradient_clipping_reaches_the_classifier(tmp_path: Path) -> None:
    made = assembled(tmp_path, "trainer.gradient_clip_val=0.5")
    assert made.classifier.clip == {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "norm"}
    assert assembled(tmp_path).classifier.clip is None


def test_threads_are_set_and_recorded(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assembled(tmp_path, "threads=2")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_more_processes_than_cores_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.os, "cpu_count", lambda: 2)
    with pytest.raises(InputError, match=r"trainer.devices=3 is too many: this machine has 2 CPU cores"):
        assembled(tmp_path, "trainer.devices=3")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trainer.accelerator=gpu trainer.devices=1 is not possible here"):
        assembled(tmp_path, "trainer=gpu")


def test_a_logger_that_is_not_installed_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(InputError, match=r'^logger=wandb cannot be used: .*: pip install "mnist_cnn\[wandb\]"$'):
        assembled(tmp_path, "logger=wandb")


@pytest.mark.parametrize("what", ["run", "folder", "file"])
def test_a_teacher_is_a_run_a_folder_of_runs_or_a_checkpoint(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for seed in range(2):
        train(compose(*TINY, f"seed={seed}"), Run(folder / str(seed)))
    Run(folder / "begun").begin("{}", "[]")
    path = {"run": folder / "0", "folder": folder, "file": Run(folder / "0").last}[what]
    untaught, taught = assembled(tmp_path / "a"), assembled(tmp_path / "b", f"teacher.runs={path}")
    assert taught.classifier.teacher is not None
    assert taught.describe().endswith(f"on cpu, teachers: {2 if what == 'folder' else 1}")
    for ours, theirs in zip(taught.classifier.parameters(), untaught.classifier.parameters(), strict=True):
        assert torch.equal(ours, theirs)  # to load a teacher draws no random number


def test_a_missing_teacher_or_label_smoothing_beside_one_is_an_input_error(tmp_path: Path) -> None:
    Run(tmp_path / "begun").begin("{}", "[]")
    (tmp_path / "begun" / ".lock").touch()
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"teacher.runs=.* holds no complete run: train the teachers first"):
            assembled(tmp_path / "run", f"teacher.runs={path}")
    with pytest.raises(InputError, match=r"label_smoothing=0.1 cannot be combined with teacher.runs, which replaces"):
        assembled(tmp_path / "run", f"teacher.runs={tmp_path}", "label_smoothing=0.1")


def test_a_trainer_that_cannot_be_used_costs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNISTDataModule, "prepare_data", lambda _: pytest.fail("it downloads"))
    with pytest.raises(InputError, match=r"trainer.devices=999 is too many"):
        assembled(tmp_path, "trainer.devices=999")
