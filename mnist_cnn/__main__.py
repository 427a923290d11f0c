"""All commands: `python -m mnist_cnn` lists them, `python -m mnist_cnn train ...` runs one. So does `mnist-cnn`."""

import ast
import sys
from pathlib import Path
from runpy import run_module

from mnist_cnn import __version__
from mnist_cnn.cli import run_command
from mnist_cnn.errors import one_of

COMMANDS = ("train", "sweep", "search", "evaluate", "predict", "report", "page", "keras", "export")


def main() -> None:
    """Run the command that is named first, as `python -m mnist_cnn.NAME` does."""
    run_command(_list if sys.argv[1:2] in ([], ["-h"], ["--help"], ["--version"]) else _run)


def _list() -> None:
    if sys.argv[1:2] == ["--version"]:
        print(f"mnist_cnn {__version__}")
        return
    print("python -m mnist_cnn COMMAND [--help] ...\n")
    for name in COMMANDS:
        print(f"  {name:<10}{describe(name)}")


def _run() -> None:
    name = one_of("command", sys.argv.pop(1), COMMANDS)
    run_module(f"mnist_cnn.{name}", run_name="__main__", alter_sys=True)  # also for processes that Lightning starts


def describe(command: str) -> str:
    """Return what a command does: the start of its module's docstring. The module is not imported."""
    here = Path(__file__).parent
    source = next(file for file in (here / f"{command}.py", here / command / "__main__.py") if file.is_file())
    text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return text.partition(": `")[0]


if __name__ == "__main__":
    main()
