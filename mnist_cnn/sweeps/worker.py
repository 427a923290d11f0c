"""joblib's workers and their driver: on Ctrl-C every job saves before it ends, and no worker outlives the driver.

joblib kills its workers when the driver raises. So the driver defers a signal until the launch returns, and writes a
file into the sweep's folder that asks its workers to stop: a job saves and returns, and the next ones do not start.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnist_cnn import signals

_EVERY = 0.5  # seconds between looks


class _Worker:
    """The state that the watching thread of this process reads."""

    driver: int | None = None
    folder = Path()
    busy = False


@contextmanager
def obey_driver(folder: Path) -> Iterator[bool]:
    """In a worker, within this context a job saves and ends when its driver stops or dies. Yields whether to start.

    Suppresses Stopped: the launcher would take it for a failure.
    """
    if _Worker.driver is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the driver tells us
        _Worker.driver = os.getppid()
        threading.Thread(target=_watch, daemon=True).start()
    _Worker.folder, _Worker.busy = folder, True
    try:
        with suppress(signals.Stopped):
            yield not _is_to_stop()
    finally:
        _Worker.busy = False


def _watch() -> None:
    while not _has_lost_driver():
        if _Worker.busy and _is_to_stop():
            signals.request_stop()
        time.sleep(_EVERY)
    signals.request_stop()
    while _Worker.busy:
        time.sleep(_EVERY)
    os._exit(143)  # its driver was killed: a waiting worker would keep its memory, and its GPU


def _has_lost_driver() -> bool:
    return os.getppid() != _Worker.driver


def _is_to_stop() -> bool:
    return _has_lost_driver() or _stop_file(_Worker.folder, os.getppid()).exists()


@contextmanager
def stop_workers(folder: Path) -> Iterator[None]:
    """In the driver, within this context a signal is deferred and passed to the workers. Then raises Stopped."""
    file = _stop_file(folder, os.getpid())

    def pass_on() -> None:
        if signals.received() is not None:
            file.touch()

    with signals.defer_signals():
        try:
            with repeat(pass_on):
                yield
        except KeyboardInterrupt:  # of a worker that was still being imported
            signals.request_stop()
        except Exception:
            if signals.received() is None:  # else it killed a worker that was still being started
                raise
        finally:
            file.unlink(missing_ok=True)


def _stop_file(folder: Path, driver: int) -> Path:
    return folder / f".stop-{driver}"


@contextmanager
def repeat(action: Callable[[], object]) -> Iterator[None]:
    """Within this context, call a function twice a second, in a thread."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_EVERY):
            action()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
