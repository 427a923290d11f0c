"""The failures that are the user's to mend, the checks that raise them, and how a command reports them.

Exit status: 2 for arguments, configuration or files that cannot be used; 1 for a run that failed; 143 after SIGTERM;
130 after Ctrl-C.
"""

import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from mnist_cnn import machine, signals


class InputError(ValueError):
    """What the user gave cannot be used. The message is one line: what, the value, what is allowed."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line))


class RunError(RuntimeError):
    """A run failed on its way. The message is one line."""


def shown(value: object) -> str:
    """Write a value out of a file into a message: it may be long."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_of(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is allowed; else raise, naming what is, and what was probably meant."""
    allowed = list(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    close = get_close_matches(str(value), allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise InputError(f"{name}={shown(value)} is not known: give one of {', '.join(allowed)}{hint}")


def whole_number(name: str, value: object, at_least: int, at_most: int | None = None) -> int:
    """Return `value` if it is a whole number within the bounds; else raise."""
    in_range = isinstance(value, int) and value >= at_least and (at_most is None or value <= at_most)
    if in_range and not isinstance(value, bool):
        return int(value)  # type: ignore[call-overload, no-any-return]
    bounds = f"≥ {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    raise InputError(f"{name}={shown(value)} cannot be used: give a whole number {bounds}")


def fail(error: object, status: int = 2) -> NoReturn:
    """End the process with one line on standard error."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run a command's main function and end the process with its exit status."""
    machine.prepare()
    signals.watch()
    try:
        status = main()
        sys.stdout.flush()
        sys.exit(status)
    except InputError as error:
        fail(error)
    except RunError as error:
        fail(error, status=1)
    except BrokenPipeError:  # whoever read our output has gone: `| head`
        _write_no_more()
        sys.exit(1)
    except OSError as error:  # a full disk behind standard output
        _write_no_more()
        fail(error, status=1)


def _write_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
