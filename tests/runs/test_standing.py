"""A run stands for what it was trained with: overrides that mean something else today make it outdated."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from mnist_cnn.data.own import read_own
from mnist_cnn.differences import UNSET, decisive, differences, neutral, outdated_by
from mnist_cnn.files import write_atomically
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import explain_differences, forget_pictures, standing, standing_of
from mnist_cnn.settings import compose, conf_digest

OVERRIDES = ("augment=elastic", "optimizer=sgd")
# of a run at the commit before augment.stroke: the decisive settings of OVERRIDES
BEFORE_STROKE: dict[str, Any] = {
    "seed": 0, "label_smoothing": 0.0, "ema_decay": None, "teacher.runs": None, "teacher.temperature": 1.0,
    "data.name": "mnist", "data.val_size": 0, "data.fold": 0, "data.train_size": None, "data.epoch_size": None,
    "data.batch_size": 64, "augment.shift": 2.0, "augment.turn": 10.0, "augment.scale": 0.1, "augment.shear": 0.1,
    "augment.elastic": 1.0, "model.name": "conv", "model.padding": "valid", "model.pooling": "max",
    "model.channels": [32, 64, 128], "optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.01,
    "optimizer.momentum": 0.9, "optimizer.weight_decay": 0.0, "optimizer.nesterov": True,
    "trainer.accelerator": "auto", "trainer.devices": 1, "trainer.max_epochs": 5,
}  # fmt: skip
SCHEDULER = {"scheduler.T_max": 100}


def complete(path: Path, settings: dict[str, Any], overrides: tuple[str, ...] = OVERRIDES, conf: str = "old") -> Run:
    run = Run(path)
    run.path.mkdir(parents=True)
    run.finish({"status": "complete", "overrides": [*overrides], "conf_hash": conf, "settings": settings})
    return run


def test_a_key_that_is_newer_than_a_run_has_its_neutral_value_there(tmp_path: Path) -> None:
    now = decisive(compose(*OVERRIDES).to_dict())
    assert {"augment.stroke", "model.dropout", "trainer.precision"} < now.keys() - BEFORE_STROKE.keys()
    assert differences(BEFORE_STROKE, now) == {}
    run = complete(tmp_path / "run", BEFORE_STROKE)
    assert standing(run, OVERRIDES).status == "complete"
    stroke = standing(run, (*OVERRIDES, "augment.stroke=1"))
    assert (stroke.status, stroke.changed) == ("outdated", {"augment.stroke": (0.0, 1.0)})


def test_a_key_without_a_neutral_value_is_not_set_in_a_run_that_lacks_it() -> None:
    assert neutral("trainer.precision") == "32-true"
    for key in ("model.padding", "optimizer._target_", "optimizer.unheard", "unheard", "unheard.of"):
        assert neutral(key) == UNSET
    assert differences({}, {"model.padding": "same"}) == {"model.padding": (UNSET, "same")}


@pytest.mark.parametrize(
    ("then", "now", "changed"),
    [
        ({}, {"trainer.accelerator": "gpu"}, {}),
        ({}, {"trainer.max_epochs": 9}, {}),  # it can go on
        ({}, {"trainer.max_epochs": 4}, {"trainer.max_epochs": (5, 4)}),
        (SCHEDULER, SCHEDULER | {"trainer.max_epochs": 9}, {"trainer.max_epochs": (5, 9)}),
        ({"optimizer.lr": 1.0}, {}, {"optimizer.lr": (1.0, 0.01)}),
    ],
)  # fmt: skip
def test_what_makes_a_training_begin_anew(then: dict[str, Any], now: dict[str, Any], changed: object) -> None:
    assert outdated_by(BEFORE_STROKE | then, BEFORE_STROKE | now) == changed


def test_a_complete_run_that_can_go_on_to_more_epochs_is_not_complete(tmp_path: Path) -> None:
    run = complete(tmp_path / "run", BEFORE_STROKE)
    assert standing(run, (*OVERRIDES, "trainer.max_epochs=9")).status == "interrupted"
    assert standing(run, (*OVERRIDES, "trainer.max_epochs=1")).status == "outdated"


def test_an_interrupted_run_of_other_settings_is_outdated_and_one_that_saved_nothing_is_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_atomically(
        run.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(compose("optimizer.lr=0.5").to_dict()).encode()
    )
    assert standing(run, ("seed=0",)).status == "waiting"
    write_atomically(run.last, b"")
    assert standing(run, ("optimizer.lr=0.5",)).status == "interrupted"
    assert standing(run, ("seed=0",)).changed == {"optimizer.lr": (0.5, 0.001)}
    assert standing(run, ()).status == "interrupted"  # a script trained it


def test_with_the_same_overrides_and_conf_nothing_is_composed_nor_compared(tmp_path: Path) -> None:
    run = complete(tmp_path / "run", {"optimizer.lr": 5}, conf=conf_digest())
    assert standing(run, OVERRIDES).is_done


def test_a_run_on_the_sample_is_not_done_where_mnist_is_asked_for(tmp_path: Path) -> None:
    settings = compose("data.fallback=error")
    run = complete(tmp_path / "run", decisive(settings.to_dict()), ())
    assert standing_of(run, settings).is_done
    run.finish({**run.result(), "dataset": "mnist-sample"})
    assert standing_of(run, compose()).is_done
    assert standing_of(run, settings).changed == {"dataset": ("mnist-sample", "mnist")}


def test_changed_pictures_outdate_what_was_trained_on_them(tmp_path: Path) -> None:
    for name in "abababab":
        file = tmp_path / "pictures" / name / f"{len([*tmp_path.rglob('*.png')])}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(28, dtype=np.uint8) * 200).save(file)
    overrides = ("data=folder", f"data.dir={tmp_path / 'pictures'}")
    settings = compose(*overrides)
    run = complete(tmp_path / "run", decisive(settings.to_dict()), overrides, conf_digest())
    before = read_own(tmp_path / "pictures", "ink", 0.2).name
    run.finish({**run.result(), "dataset": before})
    assert standing(run, overrides).is_done
    Image.fromarray(np.eye(28, dtype=np.uint8)[::-1] * 200).save(tmp_path / "pictures" / "a" / "0.png")
    forget_pictures()
    ((then, now),) = (standing(run, overrides).changed or {}).values()
    assert then == before != now
    assert standing_of(run, settings).status == "outdated"
    shutil.rmtree(tmp_path / "pictures")
    forget_pictures()
    assert standing(run, overrides).is_done


def test_what_is_not_known_is_not_compared(tmp_path: Path) -> None:
    damaged = standing(complete(tmp_path / "no settings", {}), OVERRIDES)
    assert (damaged.status, damaged.is_done) == ("complete", False)
    gone = complete(tmp_path / "a key that is gone", BEFORE_STROKE, ("trainer.gone=1",))
    assert standing(gone, ("trainer.gone=1",)).status == "complete"
    assert standing_of(Run(tmp_path / "nothing"), compose()).status == "waiting"


def test_differences_are_said_in_one_line() -> None:
    changed = {f"key{number}": (number, "x" * 100) for number in range(5)}
    said = explain_differences(changed)
    assert said.startswith("key0=0, now it is xxxx")
    assert said.endswith("…; and 2 more")
    assert len(said) < 300
