"""A sweep on SLURM: the driver asks squeue which jobs are left, and a job saves before SLURM ends it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mnist_cnn.errors import RunError
from mnist_cnn.signals import Stopped, handle_signals, request_stop

_EVERY = 5.0  # seconds between calls of squeue
ENDED = "SLURM ended it (cancelled, or out of time or memory); the same command resumes it"


class Queue:
    """Tells submitit which jobs have ended. Its own watcher asks sacct, which knows nothing if accounting is off."""

    def __init__(self) -> None:
        self.jobs = set[str]()
        self._asked = 0.0

    def register_job(self, job_id: str) -> None:
        self.jobs.add(job_id)

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the state for error messages."""
        return "UNKNOWN"

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether all jobs have left the queue: submitit ends the launch at the first of them without a result."""
        if time.monotonic() - self._asked < _EVERY:
            return False
        self._asked = time.monotonic()
        command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return answer.returncode == 0 and self.jobs.isdisjoint(answer.stdout.split())


def watch_queue() -> set[str]:
    """Make submitit ask squeue. Returns the set of the jobs that it submits."""
    from submitit import SlurmJob

    SlurmJob.watcher = queue = Queue()  # type: ignore[assignment, unused-ignore]
    return queue.jobs


@contextmanager
def obey_slurm() -> Iterator[None]:
    """Within this context a job saves at SIGTERM (scancel), and at SIGUSR2, which SLURM sends before the time limit.

    Then raises RunError. At a time limit submitit's handler instead requeues the job and exits, up to
    hydra.launcher.max_num_timeout times.
    """
    limits = list[int]()

    def save(number: int, _: object) -> None:
        limits.append(number)
        request_stop()

    at_limit = signal.signal(signal.SIGUSR2, save)
    before = handle_signals()
    try:
        yield
    except Stopped:
        for number, handler in before.items():
            signal.signal(number, handler)
        if limits and callable(at_limit):
            try:
                at_limit(signal.SIGUSR2, None)
            except Exception as error:  # submitit's own, and those of scontrol
                raise RunError(f"{ENDED}: {error}") from error
        raise RunError(ENDED) from None
