import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from mnist_cnn import signals
from mnist_cnn.cli import Parser, command_line, forget_stale_ranks, run_command
from mnist_cnn.errors import InputError, RunError
from tests.conftest import Answer, posix


def raising(error: BaseException) -> Callable[[], Any]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_status_is_what_main_returns(returned: object, status: int, cli: Callable[..., Answer]) -> None:
    assert cli(lambda: returned) == (status, "", "")


@pytest.mark.parametrize(("error", "status"), [(InputError("no such file"), 2), (RunError("the loss is NaN"), 1)])
def test_an_error_is_one_line_and_a_status(error: Exception, status: int, cli: Callable[..., Answer]) -> None:
    assert cli(raising(error)) == (status, "", f"error: {error}\n")


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "handle_signals", dict)
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()))


@pytest.fixture
def printing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TextIO], Callable[[], Any]]]:
    """A main function that prints to the given stream as its standard output."""
    streams: list[TextIO] = []

    def to(stream: TextIO) -> Callable[[], Any]:
        def main() -> None:
            streams.append(stream)
            monkeypatch.setattr(sys, "stdout", stream)
            print("a line")

        return main

    yield to
    for stream in streams:
        stream.close()  # raises if the line that could not be printed is still in the buffer


@posix
def test_a_full_disk_behind_the_output_is_an_error(printing: Callable[..., Any], cli: Callable[..., Answer]) -> None:
    answer = cli(printing(os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")))
    assert (answer.status, answer.err) == (1, "error: [Errno 28] No space left on device\n")


def test_a_reader_that_has_gone_is_no_error_to_report(printing: Callable[..., Any], cli: Callable[..., Answer]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    answer = cli(printing(os.fdopen(writer, "w")))
    assert (answer.status, answer.err) == (1, "")


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_an_exit_status(number: signal.Signals, status: int, cli: Callable[..., Answer]) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # in a shell's background Ctrl-C is ignored
    try:
        assert cli(lambda: os.kill(os.getpid(), number)) == (status, "", "")
    finally:
        signal.signal(number, before)


@posix
def test_a_log_that_cannot_be_written_prints_no_traceback(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logger = logging.Logger("here")
    with Path("/dev/full").open("w", buffering=1) as full:
        logger.addHandler(logging.StreamHandler(full))
        assert cli(lambda: logger.error("lost")) == (0, "", "")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # so that it can be closed


@pytest.mark.parametrize(("given", "count"), [(None, "10000"), ("7", "7")])
def test_a_command_sets_how_long_threads_spin_unless_the_user_does(
    given: str | None, count: str, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if given:
        monkeypatch.setenv("GOMP_SPINCOUNT", given)
    assert cli(lambda: print(os.environ["GOMP_SPINCOUNT"])).out == f"{count}\n"


def test_a_command_is_quoted_for_the_systems_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_line("mnist_cnn.train", "a=b c") == "python -m mnist_cnn.train 'a=b c'"
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        assert command_line("mnist_cnn.train", "a=b c") == 'python -m mnist_cnn.train "a=b c"'


@posix
def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_word(tmp_path: Path) -> None:
    """Python's own handler would print the traceback of an import."""
    (tmp_path / "hydra.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "mnist_cnn.train"]
    done = subprocess.run(command, env=environment, capture_output=True, preexec_fn=default_sigint)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def default_sigint() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it


@pytest.mark.parametrize("encoding", ["cp866", "cp1252"])
def test_what_the_output_cannot_encode_is_escaped(
    encoding: str, cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli(lambda: print("숫자 a")).status == 0
    assert stream.buffer.getvalue().split() == [rb"\uc22b\uc790", b"a"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--helo", "there is no option --helo (did you mean --help?)"),
        ("run --sise=3", "there is no option --sise (did you mean --size?)"),
        ("--siz 3", "the following arguments are required: RUN"),
        ("run --size x", "argument --size: invalid int value: 'x'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: str, message: str, cli: Callable[..., Answer]) -> None:
    parser = Parser(description="Read --stdin.")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--size", type=int)
    assert cli(parser.parse_args, *arguments.split()) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"RANK": "1", "LOCAL_RANK": "1", "SLURM_PROCID": "1"}, set()),
        ({"RANK": "1", "WORLD_SIZE": "2"}, {"RANK"}),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "1"}, set()),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, {"SLURM_PROCID"}),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, {"RANK", "LOCAL_RANK"}),  # Lightning reads torchrun's
    ],
)
def test_a_rank_without_other_processes_is_forgotten(
    given: dict[str, str], left: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"RANK", "LOCAL_RANK", "SLURM_PROCID", "WORLD_SIZE", "SLURM_NTASKS"}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    forget_stale_ranks()
    assert names & set(os.environ) == left | (set(given) & {"WORLD_SIZE", "SLURM_NTASKS"})
