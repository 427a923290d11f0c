"""What a sweep on SLURM does without SLURM: squeue's answers, and the signals that a job gets."""

import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from mnist_cnn import signals
from mnist_cnn.errors import RunError
from mnist_cnn.sweeps import slurm
from tests.conftest import posix


@pytest.mark.parametrize(
    ("status", "listed", "done"),
    [(0, "7_1\n9\n", False), (0, "8\n9\n", True), (0, "", True), (1, "", False)],  # 1: the controller is away
)
def test_a_launch_ends_when_all_its_jobs_have_left_the_queue(
    status: int, listed: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(returncode=status, stdout=listed)
    monkeypatch.setattr(slurm.subprocess, "run", lambda *_, **__: answer)
    queue = slurm.Queue()
    for job in ("7_0", "7_1"):
        queue.register_job(job)
    assert queue.is_done("7_0") is done
    assert queue.is_done("7_0") is False  # it has just asked


@pytest.fixture
def submitits() -> Iterator[list[int]]:
    """The signals that submitit's handler got."""
    seen: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR2)
    before = [signal.signal(number, lambda number, _: seen.append(number)) for number in numbers]
    others = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield seen
    for number, handler in [*others.items(), *zip(numbers, before, strict=True)]:
        signal.signal(number, handler)


@posix
@pytest.mark.parametrize(("number", "is_limit"), [("SIGUSR2", True), ("SIGTERM", False)])
def test_a_job_saves_first_and_submitit_requeues_it_at_a_time_limit_only(
    number: str, is_limit: bool, submitits: list[int]
) -> None:
    def train() -> None:
        with slurm.obey_slurm(), signals.defer_signals():
            signal.raise_signal(getattr(signal, number))
            assert (signals.received(), submitits) == (signal.SIGTERM, [])

    with pytest.raises(RunError, match="the same command resumes it$"):
        train()
    assert submitits == [signal.SIGUSR2] * is_limit
