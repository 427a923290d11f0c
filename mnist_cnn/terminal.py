"""What is printed in a terminal: lines broken between their fields, and a line while something takes seconds.

Pipes, files and logs get each line whole.
"""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import TextIOBase
from typing import TextIO

Stream = TextIO | TextIOBase  # the second is what streams are at run time


def columns(stream: Stream) -> int | None:
    """Return the width of the terminal that a stream writes to; None if it is not a terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def break_fields(line: str, width: int) -> str:
    """Break a line that is too wide between its fields, which are two spaces apart. A field stays whole."""
    lines: list[str] = []
    for field in line.split("  ") if len(line) > width else [line]:
        if lines and len(lines[-1]) + 2 + len(field) <= width:
            lines[-1] += f"  {field}"
        else:
            lines.append(f"  {field}" if lines else field)
    return "\n".join(lines)


def fit(line: str, stream: Stream) -> str:
    """Break a line as `break_fields` does, if the stream writes to a terminal."""
    width = columns(stream)
    return break_fields(line, width) if width else line


class FieldFormatter(logging.Formatter):
    """Formats messages on standard output: in a terminal, lines that are too wide are broken between their fields."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(fit(line, sys.stdout) for line in super().format(record).split("\n"))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Within this context, a terminal shows a line, which is removed afterwards."""
    from rich.console import Console  # not before a command knows that it has something to wait for

    console = Console(stderr=True)
    with console.status(f"{what} …") if console.is_terminal else nullcontext():  # in Jupyter it needs ipywidgets
        yield
