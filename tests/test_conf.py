"""Every file under conf/ composes, builds what it describes, and is short."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mnist_cnn.model.optimizers import build_optimizer, build_scheduler
from mnist_cnn.train import CONF, compose

FILES = sorted(CONF.rglob("*.yaml"))
CHOICES = [f"{file.parent.name}={file.stem}" for file in FILES if file.parent not in (CONF, *CONF.glob("hydra/*"))]


def test_there_are_configurations() -> None:
    assert len(FILES) > 15
    assert {"model=dense", "optimizer=sgd", "trainer=ddp", "experiment=notebook_log"} <= set(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str) -> None:
    assert OmegaConf.to_container(compose(choice), resolve=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_is_short_and_says_how_to_use_it(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("#")
    assert len(lines) <= (40 if file.parent == CONF else 20)


@pytest.mark.parametrize("name", [file.stem for file in (CONF / "optimizer").glob("*.yaml")])
def test_every_optimizer_steps(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(compose(f"optimizer={name}").optimizer, [weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("name", [file.stem for file in (CONF / "scheduler").glob("*.yaml")])
@pytest.mark.parametrize("optimizer", [file.stem for file in (CONF / "optimizer").glob("*.yaml")])
def test_every_scheduler_goes_with_every_optimizer(name: str, optimizer: str) -> None:
    cfg = OmegaConf.to_container(compose(f"scheduler={name}", f"optimizer={optimizer}"), resolve=True)
    built = build_optimizer(cfg["optimizer"], [torch.nn.Parameter(torch.ones(3))])
    scheduler = build_scheduler(cfg["scheduler"], built, steps=10)
    for _ in range(10 if scheduler else 0):
        built.step()
        scheduler.step()
    rate = built.param_groups[0]["lr"]
    assert rate == cfg["optimizer"]["lr"] if scheduler is None else rate < cfg["optimizer"]["lr"] / 10


def test_the_default_is_the_notebook() -> None:
    cfg = compose()
    assert (cfg.model.padding, cfg.model.pooling, list(cfg.model.channels)) == ("valid", "max", [32, 64, 128])
    assert (cfg.data.batch_size, cfg.data.val_size, cfg.trainer.max_epochs) == (64, 0, 5)
    assert (cfg.optimizer.lr, cfg.optimizer.rho, cfg.optimizer.epsilon) == (1e-3, 0.9, 1e-7)
