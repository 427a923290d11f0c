"""The errors that a user can correct, and the checks that raise them.

InputError          an argument, a setting or a file is wrong: exit status 2
    InUse           another process trains in this run directory (runs.directory)
    Unreachable     no mirror has the data set (data.download)
RunError            a run failed, as by NaN, a full disk, too little memory: exit status 1
Stopped             a signal ended the command: exit status 128 + its number (signals)

`cli.run_command` prints each as one line; `sweeps.job.attempt` writes it into the job's result.json. Any other
exception is a bug, and keeps its traceback.
"""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The user gave something wrong. The message is one line: what, its value, what is allowed."""

    status = 2

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line))


class RunError(RuntimeError):
    """A run failed. The message is one line."""

    status = 1


def missing_package(what: str, extra: str) -> InputError:
    """Return the error for an optional package that is not installed, with the command that installs it."""
    return InputError(f'{what}: pip install "mnist_cnn[{extra}]"')  # these quotes work in every system's shell


def abbreviate(value: object) -> str:
    """Write a value from a file into a message: it may be long, or deeply nested."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_of(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is allowed; otherwise raise InputError with the allowed names and the closest of them."""
    allowed = list(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    choices = f"{', '.join(allowed)}{did_you_mean(value, allowed)}"
    raise InputError(f"{name}={abbreviate(value)} is not known: choose one of {choices}")


def did_you_mean(value: object, allowed: Iterable[str]) -> str:
    """Return " (did you mean x?)" for the allowed name closest to `value`, or nothing.

    Of keys such as optimizer.lr the last parts are compared, so that lr finds it; first those of the same group.
    """
    group, _, name = str(value).rpartition(".")
    by_name = {each.rpartition(".")[2]: each for each in sorted(allowed, key=lambda each: each.startswith(f"{group}."))}
    close = get_close_matches(name, by_name, n=1)
    return f" (did you mean {by_name[close[0]]}?)" if close else ""
