import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_cnn import evaluate, predict
from mnist_cnn.runs.directory import Run
from tests.commands import Command
from tests.conftest import Answer, Trained, one_line


def test_a_new_process_gives_the_results_numbers_to_the_last_digit(trained: Trained, tmp_path: Path) -> None:
    out, _ = Command(
        "-m", "mnist_cnn.evaluate", str(trained.path), "--json", "--device", "cpu", cwd=tmp_path
    ).communicate()
    answer = json.loads(out)
    assert answer == {
        key: trained.result[key] for key in ("dataset", "test_images", "test/loss", "test/acc", "test/f1")
    }


def test_a_checkpoint_file_gives_the_same_answer_as_its_run(trained: Trained, cli: Callable[..., Answer]) -> None:
    by_run, by_file = cli(evaluate.main, trained.path), cli(evaluate.main, Run(trained.path).last)
    assert by_run == by_file
    line = "mnist-sample: test/acc {test/acc:.4f}  test/loss {test/loss:.4f}  on 1,000 test images\n"
    assert by_run.out == line.format(**trained.result)


def test_each_process_of_srun_gives_the_same_answer(
    trained: Trained, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = cli(evaluate.main, trained.path)
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert cli(evaluate.main, trained.path) == alone


def test_distorted_images_are_tested_too(trained: Trained, cli: Callable[..., Answer]) -> None:
    text = cli(evaluate.main, trained.path, "--shift", "0:4:2", "--turn", "30")
    _, *lines = text.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "shift 0 pixels", "shift 2 pixels", "shift 4 pixels", "turn 30 degrees",
    ]  # fmt: skip
    values = json.loads(cli(evaluate.main, trained.path, "--shift", "0:4:2", "--json").out)
    assert [f"{value:.4f}" for value in values["shift"].values()] == [line.split()[-1] for line in lines[:3]]
    assert values["shift"]["0"] == values["test/acc"] > values["shift"]["2"] > values["shift"]["4"]


def test_strengths_out_of_range_are_one_line(trained: Trained, cli: Callable[..., Answer]) -> None:
    answer = cli(evaluate.main, trained.path, "--shift", "99")
    allowed = "give strengths from 0 to 14 pixels, such as 1,2 or 0:14 or 0:14:2"
    assert (answer.status, answer.err) == (2, f"error: --shift 99 is not allowed: {allowed}\n")


def test_missing_and_damaged_checkpoints_are_one_line(
    trained: Trained, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    for given in (tmp_path / "missing", tmp_path, tmp_path / "text.ckpt"):
        answer = cli(evaluate.main, given)
        assert (answer.status, answer.out) == (2, "")
        assert os.fspath(given) in one_line(answer.err)


def test_a_missing_checkpoint_does_not_wait_for_torch() -> None:
    code = "import sys; from mnist_cnn.{0} import {0}; from mnist_cnn.errors import InputError\n"
    check = "try: list({0}('missing.ckpt'{1}))\nexcept InputError: print('torch' in sys.modules)"
    for name, more in (("evaluate", ""), ("predict", ", ['a.png']")):
        script = (code + check).format(name, more)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False"]


def test_a_device_that_is_not_there_is_one_line(
    trained: Trained, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for main, more in ((evaluate.main, []), (predict.main, ["tests/seven.jpg"])):
        answer = cli(main, trained.path, *more, "--device", "cuda")
        assert (answer.status, answer.out) == (2, "")
        assert one_line(answer.err).startswith("error: --device cuda is not available: torch finds no such device")
        assert cli(main, trained.path, *more, "--device", "cpu").status == 0
