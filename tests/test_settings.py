"""The configuration is composed, hashed by what decides the result, and explained."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_cnn.errors import InputError
from mnist_cnn.settings import CONF, compose, load
from tests.test_schema import changed, composed

DECISIVE = {
    "seed": 0,
    "label_smoothing": 0.0,
    "ema_decay": None,
    "teacher.runs": None,
    "teacher.temperature": 1.0,
    "data.name": "mnist",
    "data.val_size": 0,
    "data.fold": 0,
    "data.train_size": None,
    "data.epoch_size": None,
    "data.batch_size": 64,
    "augment.shift": 0.0,
    "augment.turn": 0.0,
    "augment.scale": 0.0,
    "augment.shear": 0.0,
    "augment.elastic": 0.0,
    "augment.stroke": 0.0,
    "model.name": "conv",
    "model.padding": "valid",
    "model.pooling": "max",
    "model.channels": [32, 64, 128],
    "optimizer._target_": "mnist_cnn.model.optimizers.KerasRMSprop",
    "optimizer.lr": 0.001,
    "optimizer.rho": 0.9,
    "optimizer.momentum": 0.0,
    "optimizer.epsilon": 1e-7,
    "optimizer.centered": False,
    "trainer.accelerator": "auto",
    "trainer.devices": 1,
    "trainer.max_epochs": 5,
}


def test_decisive_settings_are_those_that_change_the_result() -> None:
    assert composed().decisive() == DECISIVE


def test_the_digest_is_that_of_the_decisive_settings() -> None:
    text = json.dumps(dict(sorted(DECISIVE.items())))
    assert composed().digest() == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resume", "never"),
        ("threads", 2),
        ("checkpoint.every_steps", 7),
        ("logger.csv", False),
        ("logger.also", {"_target_": "x.Y"}),
        ("data.dir", "/elsewhere"),
        ("data.mirrors", ["file:///x/"]),
        ("data.fallback", "error"),
    ],
)
def test_the_digest_does_not_depend_on_where_and_how_fast(key: str, value: object) -> None:
    assert changed(key, value).digest() == composed().digest()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("label_smoothing", 0.1),
        ("data.batch_size", 32),
        ("model.channels", [64, 32, 128]),
        ("optimizer.epsilon", 1e-8),
        ("scheduler._target_", "x.Y"),
        ("trainer.max_epochs", 6),
        ("trainer.precision", "bf16-mixed"),
    ],
)
def test_the_digest_depends_on_what_changes_the_result(key: str, value: object) -> None:
    assert changed(key, value).digest() != composed().digest()


def test_the_digest_does_not_depend_on_the_order_of_the_options() -> None:
    plain = composed().to_dict()
    turned = plain | {"optimizer": {"b": 1, "a": 2, **plain["optimizer"]}}
    straight = plain | {"optimizer": {**plain["optimizer"], "a": 2, "b": 1}}
    assert load(OmegaConf.create(turned)).digest() == load(OmegaConf.create(straight)).digest()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("foo=1", "there is no key foo; --help lists all keys"),
        ("sed=1", "there is no key sed (did you mean seed?); --help lists all keys"),
        ("data.batchsize=1", "there is no key data.batchsize (did you mean data.batch_size?); --help lists all keys"),
        ("optimizer=sgd optimizer.rho=0.9", "there is no key optimizer.rho with this choice of optimizer"),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_probably_meant(overrides: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        compose(*overrides.split())
    assert str(error.value) == expected


def test_an_unknown_choice_is_answered_with_the_choices_but_not_with_hydras_search_path() -> None:
    with pytest.raises(InputError, match="Available options in 'optimizer': adam adamw nadam rmsprop sgd$"):
        compose("optimizer=rmspop")


def test_conf_is_the_folder_at_the_top() -> None:
    assert Path(__file__).parents[1] / "conf" == CONF


def test_settings_are_checked_without_torch() -> None:
    code = "import sys; from mnist_cnn.settings import compose; compose(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
