import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mnist_cnn import signals
from tests.conftest import posix

pytestmark = posix
STATUS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in signals.SIGNALS}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), STATUS)
def test_a_signal_ends_the_command_with_its_status(number: signal.Signals, status: int) -> None:
    signals.handle_signals()
    with pytest.raises(signals.Stopped) as stopped:
        send(number)
    assert stopped.value.code == status


def test_the_previous_handlers_are_returned() -> None:
    expected = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
    }
    assert signals.handle_signals() == expected


@pytest.mark.parametrize(("number", "status"), STATUS)
def test_a_deferred_signal_is_noted_and_ends_the_command_afterwards(number: signal.Signals, status: int) -> None:
    handler, noted = signal.getsignal(number), []

    def work() -> None:
        with signals.defer_signals():
            noted.append(signals.received())
            send(number)
            noted.append(signals.received())

    with pytest.raises(signals.Stopped) as stopped:
        work()
    assert noted == [None, number]
    assert stopped.value.code == status
    assert signal.getsignal(number) is handler
    assert signals.received() is None  # a later training is not stopped


def test_without_a_signal_nothing_is_raised() -> None:
    with signals.defer_signals():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    head = "import signal\nfrom mnist_cnn import signals\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.run([sys.executable, "-c", head + script], capture_output=True, text=True)


def test_a_second_deferred_signal_ends_a_command_at_once() -> None:
    ended = run_script(
        "signals.handle_signals_of_command()\n"
        "with signals.defer_signals():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('saving', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('saved', flush=True)\n"
    )
    assert (ended.returncode, ended.stdout) == (143, "saving\n")


def test_a_notebook_survives_several_interrupts() -> None:
    ended = run_script(
        "try:\n"
        "    with signals.defer_signals():\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "except signals.Stopped:\n"
        "    print(signals.received(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    assert (ended.returncode, ended.stdout) == (0, "None True\n")


def test_signals_are_no_longer_deferred_afterwards() -> None:
    signals.handle_signals()
    with signals.defer_signals():
        pass
    with pytest.raises(signals.Stopped):
        send(signal.SIGTERM)


def test_an_error_is_not_hidden_by_a_signal() -> None:
    def work() -> None:
        with signals.defer_signals():
            send(signal.SIGTERM)
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        work()
    assert signals.received() is None


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    signals.handle_signals()
    send(signal.SIGINT)
    assert signals.received() is None


def test_a_thread_leaves_the_handlers_alone() -> None:
    def work() -> object:
        with signals.defer_signals():
            return signals.handle_signals()

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == {}
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_keeps_its_status_between_processes() -> None:
    assert pickle.loads(pickle.dumps(signals.Stopped(15))).code == 143
