"""In a terminal lines are broken between their fields; what is piped stays whole."""

import io
import logging
import sys

import pytest
from rich.console import Console

from mnist_cnn.terminal import FieldFormatter, break_fields, waiting

LINE = "epoch 1/2  55 steps  2.1 s  38.9 ms/step  train/loss 0.9067  train/acc 0.7163  val/loss 0.4708  val/acc 0.8500"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_line_is_broken_between_its_fields(width: int) -> None:
    lines = break_fields(LINE, width).split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= width
    assert "  ".join(line.removeprefix("  ") for line in lines) == LINE


@pytest.mark.parametrize(("line", "width"), [(LINE, len(LINE)), ("a field of many words", 5)])
def test_a_line_that_fits_or_is_one_field_stays_whole(line: str, width: int) -> None:
    assert break_fields(line, width) == line


def test_only_a_terminal_breaks_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.makeLogRecord({"msg": LINE})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert FieldFormatter().format(record) == LINE
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert FieldFormatter().format(record) == break_fields(LINE, 80)


def test_only_a_terminal_says_what_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {True: "loading PyTorch …", False: ""}
    for is_terminal, text in shown.items():
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=is_terminal, color_system=None)
        monkeypatch.setattr("rich.console.Console", lambda console=console, **_: console)
        with waiting("loading PyTorch"):
            pass
        assert text in screen.getvalue()
        assert bool(screen.getvalue()) is is_terminal
