import os
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from mnist_cnn import MNISTDataModule
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training import trainer
from mnist_cnn.training.assemble import assemble
from mnist_cnn.training.fit import Training
from mnist_cnn.training.machine import commit_of
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


def test_the_description_has_the_parameters_images_and_device(tmp_path: Path) -> None:
    text = assembled(tmp_path, "data.val_size=500").describe()
    assert "total: 104,202 parameters" in text
    assert text.endswith("mnist-sample: 3,500 training images, 500 held out, on cpu")


def test_a_resumed_run_keeps_its_number_of_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for more, expected in ((), 2), (("threads=1",), 1):
            run = Run(tmp_path / str(expected))
            keys = (*TINY, "trainer.max_epochs=2")
            train(compose(*keys), run, Options(cores=2, pause_after=1))
            train(compose(*keys, *more), run, Options(cores=1, pause_after=2))
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_a_paused_run_has_no_result_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    settings = compose(*QUICK, "model.channels=[2]", "trainer.max_epochs=3", "optimizer=adam", "scheduler=onecycle")
    whole, paused = Run(tmp_path / "whole"), Run(tmp_path / "paused")
    result = train(settings, whole)
    for epoch in (1, 2, 3):
        assert train(settings, paused, Options(pause_after=epoch)) == {}
        assert len(paused.rows()) == epoch
        assert paused.result() == {}
    assert train(settings, paused)["test/loss"] == result["test/loss"]
    ours, theirs = (read_checkpoint(run.last)["state_dict"] for run in (paused, whole))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


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
    with pytest.raises(InputError, match=r"label_smoothing=0.1 cannot be combined with teacher.runs: give 0"):
        assembled(tmp_path / "run", f"teacher.runs={tmp_path}", "label_smoothing=0.1")


def test_a_student_is_not_resumed_with_another_teacher(tmp_path: Path) -> None:
    train(compose(*TINY), Run(tmp_path / "teacher"))
    student = compose(*TINY, f"teacher.runs={tmp_path / 'teacher'}", "trainer.max_epochs=2")
    train(student, Run(tmp_path / "student"), Options(pause_after=1))
    train(compose(*TINY, "seed=1", "resume=never"), Run(tmp_path / "teacher"))
    with pytest.raises(InputError, match=r"it was trained with teacher.weights="):
        train(student, Run(tmp_path / "student"))


def test_a_trainer_that_cannot_be_used_costs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNISTDataModule, "prepare_data", lambda _: pytest.fail("it downloads"))
    with pytest.raises(InputError, match=r"trainer.devices=999 is too many"):
        assembled(tmp_path, "trainer.devices=999")


OLD_DRIVER = RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")


@pytest.mark.parametrize("where", ["move", "SlabClassifier.training_step", "SlabClassifier.test_step"])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_device_failure_is_one_line_in_new_and_resumed_runs(
    where: str, resumed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OLD_DRIVER

    settings = compose(*TINY, "trainer.max_epochs=2")
    if resumed:
        train(settings, Run(tmp_path), Options(pause_after=1))
    monkeypatch.setattr(f"mnist_cnn.training.fit.{where}", fail)
    with pytest.raises(RunError, match=r"^the device failed: The NVIDIA driver .*: try a smaller data.batch_size$"):
        train(settings, Run(tmp_path))


def test_lightning_does_not_warn_of_what_the_user_did_not_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that trainer=cpu leaves alone, and SLURM's srun on a machine where nothing was started by it."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        assert {"GPU", "srun"} <= {word for each in warned for word in re.findall(r"GPU|srun", str(each.message))}
        warned.clear()
        assembled(tmp_path / "run")
    assert [str(each.message) for each in warned] == []


def test_the_result_says_where_it_was_computed(tmp_path: Path) -> None:
    result = train(compose(*TINY), Run(tmp_path))
    assert result["device"] == "cpu"
    assert result["device_name"]
    assert result["versions"].keys() == {
        "python", "mnist_cnn", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core",
    }  # fmt: skip


def test_the_commit_is_that_of_a_checkout_and_says_if_files_differ(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert commit_of(tmp_path) == head[:12]
    assert commit_of(tmp_path / "package") is None  # installed into somebody's checkout
    (tmp_path / "file").touch()
    subprocess.run([*git, "add", "-A"], check=True)
    assert commit_of(tmp_path) == f"{head[:12]}-dirty"
