"""One's own configuration is found by every command, by each job of a sweep, and by who compares later."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mnist_cnn import search
from mnist_cnn import sweep as show
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import standing
from mnist_cnn.searchpath import config_dirs, with_searchpath
from mnist_cnn.settings import CONF, compose, conf_digest
from mnist_cnn.train import command
from tests.conftest import Answer, one_line
from tests.sweeps import TINY

EXPERIMENT = "# @package _global_\nhydra: {sweeper: {params: {optimizer: 'mine,sgd'}}}\n"
OPTIMIZER = "defaults: [sgd]\nlr: 0.02\n"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the current one, with an experiment that sweeps, an optimizer, and a search."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "it's mine"
    for name, text in {"experiment": EXPERIMENT, "optimizer": OPTIMIZER}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "mine.yaml").write_text(text)
    (folder / "search").mkdir()
    default = OmegaConf.load(CONF / "search" / "default.yaml")
    OmegaConf.save({**default, "n_trials": 1, "space": {"optimizer": ["mine"]}}, folder / "search" / "mine.yaml")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        ["--config-dir", "it's mine", "seed=1"],
        ["seed=1", "--config-dir=it's mine"],
        ["-cd", "it's mine", "seed=1"],
        ['hydra.searchpath=["it\'s mine"]', "seed=1"],
    ],
)
def test_however_a_folder_is_given_it_becomes_one_absolute_override(given: list[str], mine: Path) -> None:
    found = with_searchpath(given)
    assert (len(found), found[-1], [*config_dirs(found)]) == (2, "seed=1", [mine])
    assert with_searchpath(found) == found
    assert compose(*found, "optimizer=mine").optimizer.lr == 0.02


def test_several_folders_are_all_read(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert [*config_dirs(with_searchpath(["-cd", "b", "--config-dir", str(mine)]))] == [tmp_path / "b", mine]


@pytest.mark.parametrize("given", [["--config-dir", "nowhere"], ["--config-dir"], ["hydra.searchpath=[pkg://x]"]])
def test_what_is_not_a_folder_is_refused(given: list[str], mine: Path) -> None:
    with pytest.raises(InputError, match="the configuration folder .* does not exist"):
        with_searchpath(given)


@pytest.mark.long
def test_an_experiment_of_ones_own_is_swept_in_other_processes(mine: Path, cli: Callable[..., Answer]) -> None:
    joblib = ("--config-dir=it's mine", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    answer = cli(command, "-m", "experiment=mine", *TINY, "hydra.sweep.dir=sweep", *joblib)
    assert answer.status == 0, answer
    assert Run(Path("sweep/optimizer=mine")).settings()["optimizer.lr"] == 0.02


def test_a_sweep_is_compared_from_any_folder_and_when_its_configuration_changes(
    mine: Path, cli: Callable[..., Answer]
) -> None:
    given = ("--config-dir", "it's mine", "experiment=mine", *TINY, "hydra.sweep.dir=sweep")
    assert cli(command, *given).status == 0
    sweep = Path("sweep").resolve()
    os.chdir("/")
    assert cli(show.main, sweep).status == 0
    before = conf_digest(with_searchpath(["-cd", str(mine)]))
    (mine / "optimizer" / "mine.yaml").write_text(OPTIMIZER.replace("0.02", "0.03"))
    assert before != conf_digest(with_searchpath(["-cd", str(mine)])) != conf_digest()
    changed = cli(show.main, sweep)
    assert (changed.status, "trained with optimizer.lr=0.02, now it is 0.03" in changed.err) == (1, True)
    shutil.rmtree(mine)
    gone = cli(show.main, sweep)
    assert (gone.status, gone.err) == (
        0,
        f"warning: {mine} is gone: runs configured there are not compared with it\n",
    )
    os.chdir(sweep.parent)


def test_a_single_run_records_its_folder_and_is_resumed_with_it(mine: Path, cli: Callable[..., Answer]) -> None:
    given = ("--config-dir", "it's mine", "optimizer=mine", *TINY, "hydra.run.dir=run")
    assert cli(command, *given).status == 0
    run = Run(Path("run"))
    assert [*config_dirs(run.overrides())] == [mine]
    assert standing(run, run.overrides()).status == "complete"
    assert "already complete" in cli(command, *given).out


def test_a_search_of_ones_own_is_found_and_its_winners_command_works(mine: Path, cli: Callable[..., Answer]) -> None:
    given = ("--config-dir", "it's mine", "search=mine", *TINY, "data.val_size=500")
    answer = cli(search.main, *given)
    assert (answer.status, "optimizer=mine" in answer.out.splitlines()[-1]) == (0, True)
    assert "searchpath" in answer.out.splitlines()[-1]
    assert not any("searchpath" in folder.name for folder in Path("outputs/searches").iterdir())
    assert "choose one of default, mine" in one_line(cli(search.main, "--config-dir", "it's mine", "search=x").err)
