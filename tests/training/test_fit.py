import os
import re
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from mnist_cnn.errors import InputError, RunError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.training.start import Options, train
from tests.recipes import QUICK, TINY
from tests.training.test_assemble import assembled


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


def test_a_student_is_not_resumed_with_another_teacher(tmp_path: Path) -> None:
    train(compose(*TINY), Run(tmp_path / "teacher"))
    student = compose(*TINY, f"teacher.runs={tmp_path / 'teacher'}", "trainer.max_epochs=2")
    train(student, Run(tmp_path / "student"), Options(pause_after=1))
    train(compose(*TINY, "seed=1", "resume=never"), Run(tmp_path / "teacher"))
    with pytest.raises(InputError, match=r"it was trained with teacher.weights="):
        train(student, Run(tmp_path / "student"))


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
