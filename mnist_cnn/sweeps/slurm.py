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
    """What submitit asks about its jobs. Its own watcher asks sacct, which knows nothing where accounting is off."""

    def __init__(self) -> None:
        self.jobs = set[str]()
        self._asked = 0.0

    def register_job(self, job_id: str) -> None:
        """Add a job that was submitted."""
        self.jobs.add(job_id)

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the state that an error message shows."""
        return "UNKNOWN"

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Whether all jobs have left the queue: the launch ends at the first of those without a result."""
        if time.monotonic() - self._asked < _EVERY:
            return False
        self._asked = time.monotonic()
        command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return answer.returncode == 0 and self.jobs.isdisjoint(answer.stdout.split())


def watch_queue() -> set[str]:
    """Let submitit ask squeue from now on. Returns the set of the jobs that it submits."""
    from submitit import SlurmJob

    SlurmJob.watcher = queue = Queue()  # type: ignore[assignment, unused-ignore]
    return queue.jobs


@contextmanager
def obey_slurm() -> Iterator[None]:
    """Within this context a job saves upon SIGTERM (scancel) and SIGUSR2, which submitit asks for before a time limit.

    Then raises RunError; except that at a time limit submitit's handler requeues the job and exits, if it has had fewer
    of them than hydra.launcher.max_num_timeout.
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
        try:
            if limits and callable(at_limit):
                at_limit(signal.SIGUSR2, None)
        except Exception as error:  # submitit's own, and those of scontrol
            raise RunError(f"{ENDED}: {error}") from error
        raise RunError(ENDED) from None
