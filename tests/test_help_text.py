"""--help lists every key that can be set, in a line, with what the comment in conf/ says about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_cnn.train import command
from tests.conftest import Answer
from tests.test_conf import CHOICES


def keys(answer: Answer) -> dict[str, str]:
    """Return the lines between the two headers by the key that each lists."""
    listed = answer.out.partition("== Keys (key=value) ==\n")[2].partition("\n\n")[0]
    return {line.partition("=")[0]: line for line in listed.splitlines()}


@pytest.mark.parametrize("choice", [each for each in CHOICES if not each.startswith("experiment=")])
def test_each_key_is_explained_in_80_columns(choice: str, cli: Callable[..., Answer]) -> None:
    answer = cli(command, choice, "--help")
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "…" not in answer.out
    for key, line in keys(answer).items():
        assert len(line.split(maxsplit=1)) == 2, f"conf/ does not explain {key}"


def test_the_keys_are_those_of_the_configuration(cli: Callable[..., Answer]) -> None:
    listed = keys(cli(command, "--help"))
    assert {"seed", "data.val_size", "model.channels", "teacher.runs", "checkpoint.every_steps"} <= listed.keys()
    assert listed["model.channels"].startswith("model.channels=[32,64,128] ")
    assert "optimizer.rho" not in keys(cli(command, "optimizer=sgd", "--help"))


def test_ones_own_groups_are_explained_by_their_comments(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: mine.Net   # my class; of mine.py\nwidth: 3   # costs $5\n")
    lines = keys(cli(command, "--config-dir", tmp_path, "model=mine", "--help"))
    assert lines["model.name"].split(maxsplit=1) == ["model.name=mine.Net", "my class"]
    assert lines["model.width"].split(maxsplit=1) == ["model.width=3", "costs $5"]
