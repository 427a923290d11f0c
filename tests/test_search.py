"""A search goes on where it stopped, promotes by resuming, and tests its winner alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn import search, signals
from mnist_cnn.errors import RunError
from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run
from mnist_cnn.searches import session as module
from mnist_cnn.settings import CONF, compose, load_search
from mnist_cnn.training.start import Options, train
from tests.commands import Command
from tests.conftest import Answer, one_line

TINY = ("data.name=sample", "data.val_size=2500", "trainer=cpu", "trainer.max_epochs=2", "model.channels=[2]")
HERE = Path("mine")
N = 4


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(cli: Callable[..., Answer], *overrides: str) -> Answer:
    return cli(search.main, "reduction=2", f"search.dir={HERE}", *TINY, *overrides)


def trials(folder: Path = HERE) -> list[dict[str, Any]]:
    return [json.loads(file.read_text())["params"] for file in sorted(folder.glob("trial-*/trial.json"))]


def test_a_search_prunes_resumes_the_promoted_and_tests_the_winner(
    cli: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run(cli, f"n_trials={N}")
    assert answer.status == 0
    epochs = [len(Run(folder).rows()) for folder in sorted(HERE.glob("trial-*"))]
    assert sorted(epochs) == [1, 1, 2, 2]
    assert len(list(HERE.glob("trial-*/result.json"))) == 1
    *_, winner, command = answer.out.splitlines()
    number = int(winner.split()[2].rstrip(":"))
    assert epochs[number] == 2
    assert winner.startswith(f"winner: trial {number}: mnist-sample: val/acc ")
    assert Run(HERE / f"trial-{number:03}").result()["status"] == "complete"
    overrides = command.replace("'", "").removeprefix("python -m mnist_cnn.train ").split()
    never_paused = Run(tmp_path / "never paused")
    result = train(compose(*overrides), never_paused)
    assert result["test/acc"] == Run(HERE / f"trial-{number:03}").result()["test/acc"]
    promoted = read_checkpoint(Run(HERE / f"trial-{number:03}").last)["state_dict"]
    for key, value in read_checkpoint(never_paused.last)["state_dict"].items():
        assert torch.equal(promoted[key], value), key

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr("mnist_cnn.training.assemble.assemble", fail)
        again = run(cli, f"n_trials={N}")
    assert again.out == answer.out


def test_a_search_that_is_stopped_anywhere_ends_with_the_same_trials(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(cli, "n_trials=3", "search.dir=whole")
    calls = 0

    def stop_every_second(*arguments: Any, **options: Any) -> object:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise signals.Stopped(2)
        return train(*arguments, **options)

    monkeypatch.setattr(module, "train", stop_every_second)
    answers = [run(cli, "n_trials=3") for _ in range(6)]
    assert answers[0].status == 130
    assert "stopped; to resume: python -m mnist_cnn.search reduction=2 search.dir=mine" in answers[0].err
    assert answers[-1].status == 0
    assert trials() == trials(Path("whole"))
    assert answers[-1].out.replace("mine", "whole") == whole.out


def test_two_processes_share_a_search(here: Path, cli: Callable[..., Answer]) -> None:
    given = ("-m", "mnist_cnn.search", "n_trials=4", "reduction=2", "search.dir=shared", *TINY)
    processes = [Command(*given, cwd=here) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert sorted(len(Run(folder).rows()) for folder in Path("shared").glob("trial-*")) == [1, 1, 2, 2]
    assert len(list(Path("shared").glob("trial-*/result.json"))) == 1


def test_a_trial_that_another_process_has_trained_is_not_trained_further(tmp_path: Path) -> None:
    settings, run = compose(*TINY), Run(tmp_path / "run")
    for _ in range(2):
        assert train(settings, run, Options(pause_after=1)) == {}
        assert len(run.rows()) == 1


def test_more_trials_go_on_from_those_that_are_there(cli: Callable[..., Answer]) -> None:
    run(cli, "n_trials=1")
    before = trials()
    run(cli, "n_trials=2")
    assert trials()[:1] == before
    assert len(trials()) == 2


def test_without_pruning_all_are_trained_to_the_end(cli: Callable[..., Answer]) -> None:
    run(cli, "n_trials=2", "pruner=none", "sampler=random")
    assert [len(Run(folder).rows()) for folder in HERE.glob("trial-*")] == [2, 2]


def test_a_trial_that_fails_is_left_out_and_named(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_first(settings: Any, run: Run, *arguments: Any, **options: Any) -> object:
        if run.path.name == "trial-000":
            raise RunError("the weights became NaN")
        return train(settings, run, *arguments, **options)

    monkeypatch.setattr(module, "train", fail_first)
    answer = run(cli, "n_trials=3")
    assert answer.status == 1
    assert answer.out.splitlines()[-2].startswith("winner: trial ")
    assert answer.err.startswith("trial 0: failed: the weights became NaN  optimizer=")
    assert "failed" in answer.out
    assert Run(HERE / "trial-000").result()["error"] == "the weights became NaN"


def test_if_all_fail_that_is_one_line(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RunError("the weights became NaN")

    monkeypatch.setattr(module, "train", fail)
    answer = run(cli, "n_trials=2")
    assert (answer.status, answer.err.splitlines()[-1]) == (1, "error: no trial was trained to its last epoch")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("n_trials=0", "n_trials=0 cannot be used: it should be greater than or equal to 1"),
        ("n_trials=many", "n_trials=many cannot be used: it should be a valid integer"),
        ("sampler=tpee", "sampler=tpee is not known: choose tpe or random (did you mean tpe?)"),
        ("pruner=median", "pruner=median is not known: choose halving or none"),
        ("search=defualt", "search=defualt is not known: choose one of default (did you mean default?)"),
        ("n_trial=3", "there is no key n_trial (did you mean n_trials?)"),
        ("data.val_size=0", "a search ranks by val/acc, which needs a validation split: set data.val_size=5000"),
        ("optimizer.lrr=1", "there is no key optimizer.lrr (did you mean optimizer.lr?)"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 cannot be used"),
        ("model=conv,dense", "model=conv,dense has several values: a search takes them from space in conf/search/"),
        ("model=null", "a group cannot be null: --help lists its choices"),
        ("resume=never", "resume and logger.csv cannot be changed in a search"),
        ("logger=none", "resume and logger.csv cannot be changed in a search"),
        ("optimizer=sgd", "optimizer is in the search space of search=default"),
        ("trainer=ddp", "trainer.devices=auto is not possible in a sweep or search"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    overrides: str, message: str, cli: Callable[..., Answer]
) -> None:
    answer = run(cli, *overrides.split())
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not HERE.exists()


def test_a_store_that_is_damaged_or_of_another_search_is_one_line(cli: Callable[..., Answer]) -> None:
    run(cli, "n_trials=1")
    answer = run(cli, "n_trials=1", "sampler=random")
    assert answer.status == 2
    assert "mine holds another search: sampler was tpe, now it is random" in one_line(answer.err)
    for name in ("search.json", "trial-000/trial.json"):
        before = (HERE / name).read_text()
        for content in ("", "{", "[]", "5"):
            (HERE / name).write_text(content)
            answer = run(cli, "n_trials=1")
            assert answer.status == 2
            assert f"{name} is missing or damaged: remove its folder" in one_line(answer.err)
        (HERE / name).write_text(before)


def test_trials_of_other_settings_end_the_search_before_anything_is_trained(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cli, "n_trials=1")
    store, trial = HERE / "search.json", HERE / "trial-000"
    store_before, config = store.read_text(), (trial / ".hydra" / "config.yaml").read_text()
    store.write_text(store_before.replace('"conf_hash": "', '"conf_hash": "x'))  # another conf/ then
    (trial / "result.json").unlink()
    (trial / ".hydra" / "config.yaml").write_text(config.replace("val_size: 2500", "val_size: 2400"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", lambda *_, **__: pytest.fail("it trains"))
        answer = run(cli, "n_trials=2")
    expected = "trial-000 was trained with data.val_size=2400, now it is 2500: the trials would not be comparable"
    assert (answer.status, expected in one_line(answer.err)) == (2, True)
    (trial / ".hydra" / "config.yaml").write_text(config.replace("  stroke: 0.0\n", ""))  # before that key existed
    assert run(cli, "n_trials=2").status == 0
    assert json.loads(store.read_text()) == json.loads(store_before)


def test_a_search_may_move_to_a_machine_with_other_cores(cli: Callable[..., Answer]) -> None:
    for more in ((), ("threads=1",)):
        answer = cli(search.main, "reduction=2", "n_trials=1", *TINY, *more)
        assert answer.status == 0
    assert len(list(Path("outputs/searches").iterdir())) == 1
    assert "trial 0" not in answer.err  # it was complete


def test_optuna_missing_is_named_with_its_command(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    assert 'pip install "mnist_cnn[sweep]"' in one_line(run(cli, "n_trials=1").err)


@pytest.mark.parametrize("file", sorted((CONF / "search").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_search_composes(file: Path) -> None:
    found = load_search(file.stem)
    for key, values in found.space.items():
        for value in values if isinstance(values, list) else (values.low, values.high):
            assert compose(*found.overrides, f"{key}={value}").data.val_size
