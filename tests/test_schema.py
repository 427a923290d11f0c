"""Each setting has a type and bounds, and says so in one line."""

import math
from functools import cache

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from pydantic import ValidationError

from mnist_cnn import schema
from mnist_cnn.data import datasets
from mnist_cnn.errors import InputError
from mnist_cnn.model import registry
from mnist_cnn.schema import Settings
from mnist_cnn.settings import CONF, compose, load

REMOVED = object()


@cache
def composed(*choices: str) -> Settings:
    return compose(*choices)


def changed(key: str, value: object, *choices: str) -> Settings:
    """What `compose` returns for key=value, without Hydra, which takes its time."""
    cfg = OmegaConf.create(composed(*choices).to_dict())
    if value is REMOVED:
        group, _, name = key.rpartition(".")
        del (OmegaConf.select(cfg, group) if group else cfg)[name]
    else:
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    return load(cfg)


def message(key: str, value: object, *choices: str) -> str:
    with pytest.raises(InputError) as error:
        changed(key, value, *choices)
    assert "\n" not in str(error.value)
    return str(error.value)


BOUNDS = [  # key, allowed at both ends, refused beyond them, with these choices
    ("seed", (0, 2**32 - 1), (-1, 2**32)),
    ("threads", (1, 1024), (0, 1025)),
    ("label_smoothing", (0.0, 0.999), (-0.001, 1.0)),
    ("ema_decay", (0, 0.999), (-0.1, 1)),
    ("teacher.temperature", (0.1, 100), (0, 101)),
    ("augment.shift", (0, 14), (-0.1, 14.1)),
    ("augment.turn", (0, 180), (-1, 181)),
    ("augment.scale", (0, 0.9), (-0.1, 1)),
    ("augment.shear", (0, 1), (-0.1, 1.1)),
    ("augment.elastic", (0, 8), (-0.1, 8.1)),
    ("augment.stroke", (0, 4), (-0.1, 4.1)),
    ("data.fold", (0, 9_999_999), (-1, 10_000_000)),
    ("checkpoint.every_steps", (1, 10**9), (0, -1)),
    ("data.val_size", (0, 9_999_999), (-1, 10_000_000)),
    ("data.batch_size", (1, 60_000), (0, 60_001)),
    ("model.channels", ([1], [4096] * 8), ([0], [4097], [], [8] * 9)),
    ("model.hidden", (1, 4096), (0, 4097), "model=dense"),
    ("optimizer.lr", (0, 10.0), (-1e-9, math.nan, math.inf)),
    ("optimizer.momentum", (0, 0.99), (-0.1, 1)),
    ("optimizer.rho", (0, 0.99), (-0.1, 1)),
    ("optimizer.betas", ([0, 0.99], [0.99, 0]), ([0.9], [0.9] * 3, [-0.1, 0.9], [0.9, 1]), "optimizer=adam"),
    ("optimizer.weight_decay", (0, 5), (-0.1, math.nan), "optimizer=adam"),
    ("trainer.max_epochs", (1, 1_000_000), (0, -1, 1_000_001)),
    ("trainer.devices", (1, 8), (0, -1)),
    ("trainer.num_nodes", (1, 8), (0,)),
    ("trainer.gradient_clip_val", (0, 5), (-1, math.nan)),
    ("data.dir", ("d", "/d"), ("",)),
]


@pytest.mark.parametrize(("key", "allowed", "refused", "choices"), [(*row[:3], row[3:]) for row in BOUNDS])
def test_values_are_allowed_up_to_their_bounds(
    key: str, allowed: tuple[object, ...], refused: tuple[object, ...], choices: tuple[str, ...]
) -> None:
    for value in allowed:
        changed(key, value, *choices)
    for value in refused:
        assert message(key, value, *choices).startswith(f"{key}=")


WRONG_TYPES = {
    "boolean": (
        ["optimizer.centered", "optimizer.nesterov", "trainer.detect_anomaly", "logger.csv"],
        ["maybe", 5, "yes"],
    ),
    "integer": (
        ["seed", "data.batch_size", "data.val_size", "trainer.max_epochs", "trainer.num_nodes"],
        [True, 1.5, "1"],
    ),
    "number": (["optimizer.lr", "label_smoothing", "trainer.gradient_clip_val", "optimizer.rho"], [True, "fast", [1]]),
    "string": (["resume", "data.dir", "optimizer._target_", "scheduler._target_"], [3, True, ["auto"]]),
    "list": (["model.channels"], [8, "8", True]),
    "dictionary": (["checkpoint", "data", "logger.also"], [5, "x", [1]]),
}


@pytest.mark.parametrize("kind", WRONG_TYPES)
def test_no_value_is_converted_to_the_type_expected(kind: str) -> None:
    keys, values = WRONG_TYPES[kind]
    for key in keys:
        for value in values:
            assert message(key, value).startswith(f"{key}={value} cannot be used: it should be a valid {kind}")


@pytest.mark.parametrize(
    "key", ["threads", "checkpoint.every_steps", "logger.also", "optimizer.momentum", "trainer.gradient_clip_val"]
)
def test_null_is_allowed_where_it_means_something(key: str) -> None:
    changed(key, None)


@pytest.mark.parametrize(
    "key", ["seed", "label_smoothing", "resume", "data.dir", "optimizer.lr", "checkpoint", "trainer.max_epochs"]
)
def test_null_is_refused_elsewhere(key: str) -> None:
    assert message(key, None).startswith(f"{key}=None cannot be used")


CHOICES = {
    "data.name": ["mnist", "fashion_mnist", "kmnist", "qmnist", "sample", "folder"],
    "data.fallback": ["sample", "error"],
    "model.padding": ["valid", "same"],
    "model.pooling": ["max", "average", "stride", "none"],
    "trainer.accelerator": ["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "trainer.strategy": ["auto", "ddp"],
    "trainer.precision": ["32-true", "16-mixed", "bf16-mixed"],
    "trainer.gradient_clip_algorithm": ["norm", "value"],
    "trainer.profiler": ["simple", "advanced", "pytorch"],
}


@pytest.mark.parametrize("key", CHOICES)
def test_a_wrong_choice_is_answered_with_the_right_ones(key: str) -> None:
    *others, last = CHOICES[key]
    for value in CHOICES[key]:
        changed(key, value)
    assert message(key, "zzz") == f"{key}=zzz is not known: choose {', '.join(others)} or {last}"
    assert message(key, f"{last}x").endswith(f" (did you mean {last}?)")


def test_the_schemas_choices_exist_in_the_code() -> None:
    assert set(CHOICES["data.name"]) == set(datasets.NAMES)
    assert CHOICES["model.padding"] == list(schema.PADDINGS)
    assert CHOICES["model.pooling"] == list(schema.POOLINGS)
    assert {"conv", "dense"} == set(registry.NETS)


@pytest.mark.parametrize("value", [True, False, "warn", None])
def test_deterministic_takes_what_lightning_takes(value: object) -> None:
    assert changed("trainer.deterministic", value).trainer.deterministic == value


@pytest.mark.parametrize("value", [2, [0, 1], "auto"])
def test_devices_are_a_number_or_a_list_or_all(value: object) -> None:
    assert changed("trainer.devices", value).trainer.devices == value


@pytest.mark.parametrize(
    ("key", "value", "choices", "expected"),
    [
        ("seed", REMOVED, (), "seed is missing: --help lists the choices"),
        ("model.padding", REMOVED, (), "model.padding is missing: --help lists the choices"),
        ("model.name", REMOVED, (), "model.name is missing: --help lists the choices"),
        ("optimizer.lr", REMOVED, (), "optimizer.lr is missing: --help lists the choices"),
        ("optimizer._target_", REMOVED, (), "optimizer._target_ is missing: --help lists the choices"),
        (
            "model.name",
            "cnv",
            (),
            "model.name=cnv is not known: choose conv, dense or the full name of a class of yours (did you mean conv?)",
        ),
        ("model.units", 3, (), "there is no key model.units: model=conv has padding, pooling, channels"),
        ("model.padding", "same", ("model=dense",), "there is no key model.padding: model=dense has hidden"),
        ("checkpoint.foo", 1, (), "there is no key checkpoint.foo: checkpoint has every_steps"),
        ("logger.cvs", True, (), "there is no key logger.cvs: logger has csv, also (did you mean csv?)"),
        (
            "label_smooth",
            0.1,
            (),
            "there is no key label_smooth: the configuration has seed, threads, label_smoothing, ",
        ),
        ("label_smooth", 0.1, (), " (did you mean label_smoothing?)"),
        ("trainer.fast_dev_run", True, (), "; to try things quickly: data.name=sample trainer.max_epochs=1"),
        ("trainer.max_epoch", 1, (), "(did you mean max_epochs?)"),
        ("trainer.accumulate_grad_batches", 2, (), "there is no key trainer.accumulate_grad_batches: trainer has "),
        ("scheduler.foo", 1, (), "scheduler={'foo': 1} cannot be used: it has options but no _target_"),
        ("scheduler._target_", None, ("scheduler=cosine",), "cannot be used: it has options but no _target_"),
        (
            "data.mirrors",
            ["http://x/", "ftp://x/"],
            (),
            "data.mirrors=ftp://x/ cannot be used: it should match pattern",
        ),
        ("data.mirrors", "ftp://x/", (), "data.mirrors=ftp://x/ cannot be used: it should match pattern"),
        ("data.mirrors", ["see http://x/"], (), "data.mirrors=see http://x/ cannot be used"),
        ("data.mirrors", 3, (), "data.mirrors=3 cannot be used: it should be a valid list"),
        ("model.channels", [], (), "model.channels=[] cannot be used: it should have at least 1 item, not 0"),
        ("optimizer.lr", "${nope}", (), "Interpolation key 'nope' not found"),
    ],
)
def test_a_message_names_the_key_and_what_to_give(
    key: str, value: object, choices: tuple[str, ...], expected: str
) -> None:
    assert expected in message(key, value, *choices)


def test_only_the_trainer_has_a_hint_on_trying_things_quickly() -> None:
    assert "to try things quickly" not in message("data.foo", 1)


@pytest.mark.parametrize("url", ["http://x/", "https://x/", "file:///x/"])
def test_mirrors_are_one_url_or_a_list(url: str) -> None:
    assert changed("data.mirrors", url).data.mirrors == changed("data.mirrors", [url]).data.mirrors == [url]


def test_options_that_only_the_class_knows_reach_it() -> None:
    cfg = changed("optimizer.foo", [1, "a"])
    assert cfg.to_dict()["optimizer"]["foo"] == [1, "a"]
    assert changed("logger.also", {"_target_": "x.Y", "project": "p"}).to_dict()["logger"]["also"]["project"] == "p"


def test_settings_cannot_be_changed() -> None:
    cfg = composed()
    for group, key in ((cfg, "seed"), (cfg.data, "batch_size"), (cfg.optimizer, "lr")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, key, 1)


def test_to_dict_is_what_hydra_composes() -> None:
    overrides = ["model=dense", "optimizer=sgd", "scheduler=onecycle", "logger=tensorboard", "trainer=ddp"]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(hydra.compose("train", overrides=overrides), resolve=True)
        assert compose(*overrides).to_dict() == plain  # also while Hydra is initialised, as in a job
