from pathlib import Path
from typing import Any

import pytest

from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Settings
from mnist_cnn.sweeps import job
from mnist_cnn.train import train


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were trained."""
    names: list[str] = []

    def note(settings: Settings, run: Run, *arguments: Any, **options: Any) -> object:
        names.append(run.path.name)
        return train(settings, run, *arguments, **options)

    monkeypatch.setattr(job, "train", note)
    return names
