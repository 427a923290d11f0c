import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from mnist_cnn import signals


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signals._State.received = None


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_what_is_going_on_with_its_status(number: signal.Signals, status: int) -> None:
    signals.watch()
    with pytest.raises(signals.Stopped) as stopped:
        send(number)
    assert stopped.value.code == status


def test_held_a_signal_is_but_noted_until_the_end() -> None:
    handler, noted = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with signals.held():
            noted.append(signals.received())
            send(signal.SIGTERM)
            noted.append(signals.received())

    with pytest.raises(signals.Stopped) as stopped:
        work()
    assert noted == [None, signal.SIGTERM]
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signals.received() is None  # a training after this one is not stopped


def test_held_the_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with contextlib.suppress(signals.Stopped), signals.held():
        send(signal.SIGINT)
        assert ended == []
        send(signal.SIGTERM)
    assert ended == [143]


def test_an_error_is_not_covered_by_a_signal() -> None:
    def work() -> None:
        with signals.held():
            send(signal.SIGTERM)
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        work()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    signals.watch()
    send(signal.SIGINT)
    assert signals.received() is None
