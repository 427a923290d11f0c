"""The configuration is composed, hashed by what decides the result, and explained."""

import pytest

from mnist_cnn.differences import decisive
from mnist_cnn.errors import InputError
from mnist_cnn.settings import by_key, compose, quote_paths, without
from tests.test_schema import changed, composed

DECISIVE = {
    "seed": 0,
    "label_smoothing": 0.0,
    "class_weights": None,
    "start_from": None,
    "freeze": [],
    "patience": None,
    "monitor": "val/loss",
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
    "model.dropout": 0.0,
    "model.norm": "none",
    "model.hidden": None,
    "model.final_pooling": False,
    "optimizer._target_": "mnist_cnn.model.optimizers.KerasRMSprop",
    "optimizer.lr": 0.001,
    "optimizer.rho": 0.9,
    "optimizer.momentum": 0.0,
    "optimizer.epsilon": 1e-7,
    "optimizer.centered": False,
    "trainer.accelerator": "auto",
    "trainer.devices": 1,
    "trainer.num_nodes": 1,
    "trainer.strategy": "auto",
    "trainer.max_epochs": 5,
    "trainer.precision": "32-true",
    "trainer.gradient_clip_val": None,
    "trainer.gradient_clip_algorithm": "norm",
    "trainer.deterministic": None,
    "trainer.benchmark": None,
    "trainer.detect_anomaly": False,
    "trainer.profiler": None,
}


def test_decisive_settings_are_those_that_change_the_result() -> None:
    assert decisive(composed().to_dict()) == DECISIVE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resume", "never"),
        ("threads", 2),
        ("checkpoint.every_steps", 7),
        ("logger.csv", False),
        ("trainer.log_every_n_steps", 50),
        ("logger.also", {"_target_": "x.Y"}),
        ("data.dir", "/elsewhere"),
        ("data.mirrors", ["file:///x/"]),
        ("data.fallback", "error"),
    ],
)
def test_where_a_run_reads_and_how_fast_it_is_is_not_decisive(key: str, value: object) -> None:
    assert decisive(changed(key, value).to_dict()) == decisive(composed().to_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("label_smoothing", 0.1),
        ("data.batch_size", 32),
        ("model.channels", [64, 32, 128]),
        ("optimizer.epsilon", 1e-8),
        ("trainer.max_epochs", 6),
        ("trainer.precision", "bf16-mixed"),
    ],
)
def test_what_changes_the_result_is_decisive(key: str, value: object) -> None:
    assert decisive(changed(key, value).to_dict()) != decisive(composed().to_dict())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("foo=1", "there is no key foo; --help lists all keys"),
        ("sed=1", "there is no key sed (did you mean seed?); --help lists all keys"),
        ("data.batchsize=1", "there is no key data.batchsize (did you mean data.batch_size?); --help lists all keys"),
        ("n_trial=3", "there is no key n_trial (did you mean n_trials?); --help lists all keys"),
        ("n_trials=3", "n_trials is a key of a search: python -m mnist_cnn.search"),
        ("search=default", "search is a key of a search: python -m mnist_cnn.search"),
        ("experimnt=fast", "there is no key experimnt (did you mean experiment?); --help lists all keys"),
        ("seed", "seed cannot be used: write KEY=VALUE; --help lists all keys"),
        ("lr=1", "there is no key lr (did you mean optimizer.lr?); --help lists all keys"),
        ("batch_size=1", "there is no key batch_size (did you mean data.batch_size?); --help lists all keys"),
        ("trainer.lr=1", "there is no key trainer.lr (did you mean optimizer.lr?); --help lists all keys"),
        ("model.drop_out=1", "there is no key model.drop_out (did you mean model.dropout?); --help lists all keys"),
        ("model.depth=1", "there is no key model.depth: for a network of your own write +model.depth=VALUE"),
        ("+trainer.precision=bf16-mixed", "trainer.precision exists already: drop the +"),
        ("optimizer=sgd optimizer.rho=0.9", "there is no key optimizer.rho with this choice of optimizer"),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_probably_meant(overrides: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        compose(*overrides.split())
    assert str(error.value) == expected


def test_an_unknown_choice_is_answered_with_the_choices_but_not_with_hydras_search_path() -> None:
    expected = (
        "^optimizer=rmspop is not known: choose one of adam, adamw, muon, nadam, rmsprop, sgd .did you mean rmsprop"
    )
    with pytest.raises(InputError, match=expected):
        compose("optimizer=rmspop")


def test_overrides_are_read_by_key_and_of_two_the_last_counts() -> None:
    given = ["resume=never", "seed=1", "resume=a=b"]
    assert by_key(given) == {"resume": "a=b", "seed": "1"}
    assert without(given, "resume") == ["seed=1"]
    assert compose("resume=never", "resume=auto").resume == "auto"


@pytest.mark.parametrize("path", ["a=1,b=2", "run (1)", "run(1)", "실험", "it's", "[a]", "{a:b}", r"\\server\share"])
def test_a_path_is_taken_as_it_is(path: str) -> None:
    assert compose(f"resume={path}", f"data.dir={path}").resume == path
    assert quote_paths([f"resume={path}"], sweep=True) == quote_paths([f"resume={path}"])


@pytest.mark.parametrize("path", ["a/b", "C:\\Users\\a b", "null", "'a=b'", "a\\=b", "${now:%Y}/a", ""])
def test_a_path_that_hydra_takes_is_not_quoted_again(path: str) -> None:
    assert quote_paths([f"teacher.runs={path}"]) == [f"teacher.runs={path}"]


def test_only_a_sweep_has_lists_of_paths_and_other_keys_are_left_alone() -> None:
    assert quote_paths(["data.dir=a,b", "seed=0,1"]) == ["data.dir='a,b'", "seed=0,1"]
    assert quote_paths(["data.dir=a,b", "seed=0,1"], sweep=True) == ["data.dir=a,b", "seed=0,1"]
