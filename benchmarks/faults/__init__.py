"""Everything that can go wrong with a run or a file, made to go wrong, and counted: `python -m benchmarks.faults`."""

from typing import NamedTuple


class Case(NamedTuple):
    """One fault that was made, what came of it that should not (nothing, where all is well), and how long it took."""

    kind: str
    fault: str
    wrong: str = ""
    seconds: float = 0.0
