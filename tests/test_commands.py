"""`python -m mnist_cnn` lists every command in a line, and runs it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import mnist_cnn
from mnist_cnn import __main__ as commands
from tests.conftest import Answer, one_line

FILES = Path(mnist_cnn.__file__).parent.glob("**/*.py")


def test_every_module_that_is_a_command_is_listed() -> None:
    found = {file for file in FILES if re.search(r"^    run_command\(", file.read_text(), re.MULTILINE)}
    names = {file.parent.name if file.stem == "__main__" else file.stem for file in found}
    assert names - {"mnist_cnn"} == {*commands.COMMANDS}


@pytest.mark.parametrize("given", [[], ["--help"], ["-h"]])
def test_the_list_has_a_short_line_for_each(given: list[str], cli: Callable[..., Answer]) -> None:
    answer = cli(commands.main, *given)
    lines = answer.out.splitlines()[2:]
    assert (answer.status, [line.split()[0] for line in lines]) == (0, [*commands.COMMANDS])
    assert all(len(line) < 80 for line in lines)


def test_version(cli: Callable[..., Answer]) -> None:
    assert cli(commands.main, "--version").out == f"mnist_cnn {mnist_cnn.__version__}\n"


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # another test has imported it in this process
def test_a_command_is_run_as_its_module_is(cli: Callable[..., Answer]) -> None:
    answer = cli(commands.main, "evaluate", "nowhere")
    assert answer.status == 2
    assert one_line(answer.err).startswith("error: there is no checkpoint nowhere")


def test_an_unknown_command_is_one_line(cli: Callable[..., Answer]) -> None:
    answer = cli(commands.main, "trian")
    assert answer.status == 2
    assert one_line(answer.err).endswith("(did you mean train?)\n")
