"""Everything that can go wrong with a run or a file, made to go wrong, and counted: `python -m tests.faults`."""

import math
from typing import NamedTuple


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
