"""Everything that can go wrong with a run or a file, made to go wrong, and counted: `python -m tests.faults`."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mnist_cnn.errors import InputError


class Case(NamedTuple):
    """One fault that was made, what came of it that should not (nothing, where all is well), and how long it took.

    Whether it took too long is for the harness to say, on a quiet machine; tests look at `wrong` alone.
    """

    kind: str
    fault: str
    wrong: str = ""
    seconds: float = 0.0
    limit: float = math.inf

    @property
    def failure(self) -> str:
        """What was wrong, its time included."""
        return self.wrong or (f"took {self.seconds:.1f} s" if self.seconds > self.limit else "")


def measure(case: Case, read: Callable[[], str], mebibytes: int) -> Case:
    """Call `read`, which says what is wrong or refuses in one line, and note its time, and its memory if it is more."""
    before, begin = _memory("VmRSS"), time.monotonic()
    try:
        wrong = read()
    except InputError as error:
        wrong = "" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:  # noqa: BLE001 - any other exception is a bug
        wrong = f"{type(error).__name__}: {error}"
    seconds, grown = time.monotonic() - begin, _memory("VmHWM") - before
    return case._replace(wrong=wrong or (f"took {grown} MiB" if grown > mebibytes else ""), seconds=seconds)


def _memory(kind: str) -> int:
    """Return this process's memory (VmRSS), or its peak since the last call for VmRSS (VmHWM), in MiB. 0 off Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    if kind == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    return next(int(line.split()[1]) // 2**10 for line in lines if line.startswith(kind))
