"""Ctrl-C lets every job of joblib's processes save, and none outlives a driver that was killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_cnn import signals
from mnist_cnn.runs.directory import Run
from mnist_cnn.sweeps import worker
from tests.conftest import posix
from tests.sweeps import TINY

pytestmark = posix


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a worker of its parent's, and nobody watches it."""
    monkeypatch.setattr(worker._Worker, "driver", os.getppid())
    monkeypatch.setattr(worker._Worker, "busy", False)


def test_a_job_that_was_stopped_returns_to_its_launcher(tmp_path: Path) -> None:
    with worker.obey_driver(tmp_path) as may_run:
        assert may_run
        raise signals.Stopped(signal.SIGINT)
    assert not worker._Worker.busy


def test_a_job_does_not_start_once_the_driver_stops_or_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f".stop-{os.getppid()}").touch()
    with worker.obey_driver(tmp_path) as may_run:
        assert not may_run
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with worker.obey_driver(tmp_path / "elsewhere") as may_run:
        assert not may_run


def test_the_driver_hands_a_signal_on_and_ends_after_its_workers(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def launch() -> None:
        with worker.stop_workers(tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3 * worker._EVERY)
            seen.append([file.name for file in tmp_path.iterdir()])

    with pytest.raises(signals.Stopped) as stopped:
        launch()
    assert (stopped.value.code, seen) == (143, [[f".stop-{os.getpid()}"]])
    assert list(tmp_path.iterdir()) == []


def wait_for(condition: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_all_running_jobs_save_and_end_with_their_driver(
    number: signal.Signals, status: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    overrides = (*TINY, "trainer.max_epochs=3000", "seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, "-m", "mnist_cnn.train", "-m", *overrides, "hydra.sweep.dir=mine"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request.addfinalizer(driver.wait)
    request.addfinalizer(driver.kill)  # also where the test fails: it would train on, and its workers with it
    runs = [Run(tmp_path / "mine" / f"seed={seed}") for seed in range(3)]
    wait_for(lambda: runs[0].last.is_file() and runs[1].last.is_file())
    saved = [run.last.stat().st_mtime for run in runs[:2]]
    driver.send_signal(number)
    assert driver.wait(60) == status
    wait_for(lambda: not any(run.is_in_use() for run in runs))
    assert all(run.last.stat().st_mtime > before for run, before in zip(runs, saved, strict=False))
    assert [run.status() for run in runs] == ["interrupted", "interrupted", "waiting"]
    assert not list((tmp_path / "mine").glob(".stop-*"))
