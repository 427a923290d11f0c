"""Every file under conf/ composes, and builds what it describes."""

from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn.model.nets import ConvNet, DenseNet
from mnist_cnn.model.optimizers import KerasAdam, KerasRMSprop
from mnist_cnn.model.registry import build_net
from mnist_cnn.schema import Trainer
from mnist_cnn.settings import CONF, compose
from mnist_cnn.training.optimization import build_optimizer, build_scheduler

FILES = sorted(CONF.rglob("*.yaml"))
NO_CHOICES = (CONF, CONF / "search", *CONF.glob("hydra/*"))
CHOICES = [f"{file.parent.name}={file.stem}" for file in FILES if file.parent not in NO_CHOICES and file.stem != "own"]


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def test_there_are_configurations() -> None:
    assert len(FILES) > 15
    assert {"model=dense", "optimizer=sgd", "trainer=ddp", "experiment=notebook_log"} <= set(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(choice: str) -> None:
    assert compose(choice).to_dict()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_every_file_begins_with_its_command_or_purpose(file: Path) -> None:
    assert file.read_text().startswith("#")


@pytest.mark.parametrize("name", [name for name in names("model") if name != "own"])
def test_every_model_builds(name: str) -> None:
    assert build_net(**compose(f"model={name}").to_dict()["model"])


@pytest.mark.parametrize("name", names("optimizer"))
def test_every_optimizer_steps(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(compose(f"optimizer={name}").to_dict()["optimizer"], [weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("name", names("scheduler"))
def test_every_scheduler_ends_with_a_low_learning_rate(name: str) -> None:
    for optimizer in names("optimizer"):
        cfg = compose(f"scheduler={name}", f"optimizer={optimizer}").to_dict()
        options = cfg["optimizer"]
        built = build_optimizer(options, [torch.nn.Parameter(torch.ones(3))])
        config = build_scheduler(cfg["scheduler"], built, steps=10)
        scheduler = config and config["scheduler"]
        for _ in range(10 if scheduler else 0):
            built.step()
            scheduler.step()
        rate = built.param_groups[0]["lr"]
        assert rate == options["lr"] if scheduler is None else rate < options["lr"] / 10


def test_the_default_is_the_notebook() -> None:
    cfg = compose().to_dict()
    assert cfg["model"] == {
        "name": "conv", "padding": "valid", "pooling": "max", "channels": [32, 64, 128],
        "dropout": 0.0, "norm": "none", "hidden": None, "final_pooling": False,
    }  # fmt: skip
    assert (cfg["data"]["batch_size"], cfg["data"]["val_size"], cfg["trainer"]["max_epochs"]) == (64, 0, 5)
    optimizer = cfg["optimizer"]
    assert (optimizer["lr"], optimizer["rho"], optimizer["epsilon"], optimizer["centered"]) == (1e-3, 0.9, 1e-7, False)


def defaults_of(function: Any) -> dict[str, Any]:
    parameters = signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


@pytest.mark.parametrize(
    ("constructor", "group", "choice", "not_options"),
    [
        (ConvNet, "model", "model=conv", {"name"}),
        (DenseNet, "model", "model=dense", {"name"}),
        (KerasRMSprop, "optimizer", "optimizer=rmsprop", {"_target_"}),
        (KerasAdam, "optimizer", "optimizer=adam", {"_target_"}),
    ],
)
def test_the_defaults_of_a_constructor_are_those_of_conf(
    constructor: Any, group: str, choice: str, not_options: set[str]
) -> None:
    options = compose(choice).to_dict()[group]
    defaults = {key: value for key, value in defaults_of(constructor).items() if key != "classes"}  # the data set's
    assert defaults == {key: options[key] for key in options.keys() - not_options}


def test_runs_begun_before_a_trainer_option_was_in_conf_count_as_equal() -> None:
    defaults = {name: field.default for name, field in Trainer.model_fields.items() if not field.is_required()}
    assert defaults.items() <= compose().to_dict()["trainer"].items()
    assert len(defaults) == 10


def test_the_data_folder_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_CNN_DATA", "/elsewhere")
    assert compose().data.dir == "/elsewhere"
