"""How every command starts and ends: threads and memory, one-line errors, the exit status.

Exit status: 2 for wrong arguments, configuration or files; 1 if a run failed; 143 after SIGTERM, 130 after Ctrl-C.
"""

import argparse
import ctypes
import io
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from mnist_cnn import signals
from mnist_cnn.errors import InputError, RunError, did_you_mean

DEVICES = ("auto", "cpu", "cuda", "mps")  # what --device takes
_SPIN_COUNT = "10000"  # about 0.2 ms
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST_BLOCK, _KEPT = 32 * 2**20, 2**30  # bytes; glibc allows no larger threshold than the first
_WORLD_SIZES = {"RANK": "WORLD_SIZE", "LOCAL_RANK": "WORLD_SIZE", "SLURM_PROCID": "SLURM_NTASKS"}


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, and suggests the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        options = re.findall(r"(?<!\S)\[?(--[\w-]+)", self.format_help())
        check_options(sys.argv[1:], options)
        raise InputError(message)


def check_options(arguments: Sequence[str], options: Sequence[str]) -> None:
    """Raise InputError if an argument is an option that is not among `options`, nor short for one of them."""
    for given in [each.partition("=")[0] for each in arguments if each.startswith("--")]:
        if not any(option.startswith(given) for option in options):
            raise InputError(f"there is no option {given}{did_you_mean(given, options)}")


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run a command's main function and end the process with its exit status."""
    prepare_machine()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # in pythonw
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # escape what its encoding lacks
    signals.handle_signals_of_command()
    logging.raiseExceptions = False  # a log that cannot be written is no reason to end, nor to print a traceback
    try:
        status = main()
        print(end="", flush=True)
        sys.exit(status)
    except (InputError, RunError) as error:
        fail(error, error.status)
    except OSError as error:  # standard output: a full disk, or nobody reads on, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python would try again at its end
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        fail(error, 1)


def fail(error: Exception, status: int) -> NoReturn:
    """Print an error in one line, and end the process."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)


def command_line(module: str, *arguments: str) -> str:
    """Return the command that runs a module, quoted for the shell of this system."""
    words = ["python", "-m", module, *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else " ".join(map(_quote_for_sh, words))


def _quote_for_sh(word: str) -> str:
    """Quote a word for sh: in double quotes where it contains quotes for Hydra, which is easier to read."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def prepare_machine() -> None:
    """Set up OpenMP and malloc, and forget stale ranks. Call it before torch and Lightning are imported.

    GNU OpenMP's waiting threads spin for 15 ms by default: two trainings at once would spin for each other.
    Figures for both: benchmarks/README.md.
    """
    forget_stale_ranks()
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc keep large freed blocks: otherwise some processes map their activations' pages anew at every step."""
    malloc = ctypes.CDLL(None)
    malloc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
    malloc.mallopt(_TRIM_THRESHOLD, _KEPT)


def forget_stale_ranks() -> None:
    """Remove ranks that an earlier launch left in the environment: Lightning would take them for this process's own.

    A launcher also sets the number of processes; if that is above 1, the rank is this process's own.
    """
    for rank, size in _WORLD_SIZES.items():
        if os.environ.get(rank, "0") != "0" and os.environ.get(size, "1") == "1":
            del os.environ[rank]


def available_cores() -> int:
    """Return how many CPU cores this process should use: OMP_NUM_THREADS, SLURM's share, or all of the machine's."""
    given = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")]
    return next((int(each) for each in given if each.isdecimal() and int(each)), machine_cores())


def machine_cores() -> int:
    """Return how many CPU cores the system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
