"""The two kinds of failure that a user can mend, and the checks that raise them."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what, the value, what is allowed."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line))


def missing_package(what: str, extra: str) -> InputError:
    """Return the error for an optional package that is not installed, with the command that installs it."""
    return InputError(f'{what}: pip install "mnist_cnn[{extra}]"')  # these quotes hold in every system's shell


class RunError(RuntimeError):
    """A run failed on its way. The message is one line."""


def abbreviate(value: object) -> str:
    """Write a value from a file into a message: it may be long, or deeply nested."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def one_of(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is allowed; otherwise raise InputError with the allowed names and the closest of them."""
    allowed = list(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    raise InputError(
        f"{name}={abbreviate(value)} is not known: give one of {', '.join(allowed)}{did_you_mean(value, allowed)}"
    )


def did_you_mean(value: object, allowed: Iterable[str]) -> str:
    """Return " (did you mean x?)" for the allowed name closest to `value`, or nothing."""
    close = get_close_matches(str(value), allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def did_you_mean_key(key: str, keys: Iterable[str]) -> str:
    """Return did_you_mean for keys such as data.batch_size: their last parts are compared, first in the same group."""
    group, _, name = key.rpartition(".")
    by_name = {each.rpartition(".")[2]: each for each in sorted(keys, key=lambda each: each.startswith(f"{group}."))}
    close = get_close_matches(name, by_name, n=1, cutoff=0.7)
    return f" (did you mean {by_name[close[0]]}?)" if close else ""
