import csv
from collections.abc import Callable
from pathlib import Path

import torch

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.train import command
from tests.conftest import Answer

TINY = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1", "model.channels=[2]", "data.batch_size=500")
FOLDER = Path("mine")


def sweep(cli: Callable[..., Answer], *overrides: str) -> Answer:
    return cli(command, "-m", *TINY, f"hydra.sweep.dir={FOLDER}", *overrides)


def weights(run: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(run.last)["state_dict"]
    return state


def rows(folder: Path = FOLDER) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))
