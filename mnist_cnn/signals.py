"""SIGTERM, Ctrl-C and a closed terminal end a command with status 143, 130 or 129; a training first saves its state."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from mnist_cnn.errors import RunError

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows lacks the last
SIGNALS: Final = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_Handlers = dict[signal.Signals, Callable[..., Any] | int | None]


class Stopped(SystemExit):
    """A signal ended the command; `code` is its exit status."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return Stopped, (self.number,)  # a launcher's process may pass it to another


class _State:
    received: int | None = None
    deferring = False
    of_command = False  # otherwise of a notebook, whose process must not end


def handle_signals_of_command() -> None:
    """Install our handlers in the process of a command, which a second signal may end at once."""
    _State.of_command = True
    handle_signals()


def handle_signals() -> _Handlers:
    """Install our handlers, except for signals that are ignored, as under nohup. Returns the previous handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before: _Handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _handle)
    return before


@contextmanager
def defer_signals() -> Iterator[None]:
    """Within this context the first signal only sets `received()`. If there was one, Stopped is raised at its end.

    A second signal ends a command at once; in a notebook it raises Stopped, so that the process does not end.
    """
    before = handle_signals()
    _State.deferring = True
    try:
        yield
    finally:
        _State.deferring = False
        number, _State.received = _State.received, None
        for each, handler in before.items():
            signal.signal(each, handler)
    if number is not None:
        raise Stopped(number)


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Ask the work within this context to stop after that time, as a signal would. Raises RunError if it did."""
    if minutes is None:
        yield
        return
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        request_stop()

    timer = threading.Timer(60 * minutes, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Stopped as error:
        if expired.is_set():
            limit = f"job_timeout={minutes:g} minutes"
            raise RunError(f"stopped after {limit}; a run in the same directory resumes") from error
        raise
    finally:
        timer.cancel()


def request_stop() -> None:
    """Ask a training of this process to save and end, as SIGTERM would."""
    _State.received = _State.received or signal.SIGTERM


def received() -> int | None:
    """Return the number of the signal that asked the command to end, if there was one."""
    return _State.received


def _handle(number: int, _: FrameType | None) -> None:
    if not _State.deferring:
        raise Stopped(number)
    again, _State.received = _State.received is not None, number
    if again and _State.of_command:
        os._exit(128 + number)
    if again:
        raise Stopped(number)
