"""The strengths of `data.distortions`, and how they are given on a command line."""

from typing import Final, NamedTuple

from mnist_cnn.errors import InputError


class Strengths(NamedTuple):
    """The unit of a distortion's strength, the largest strength allowed, and those tested by default."""

    unit: str
    most: int
    usual: tuple[float, ...]


STRENGTHS: Final = {
    "shift": Strengths("pixels", 14, (0, 1, 2, 3, 4, 6, 8)),
    "turn": Strengths("degrees", 180, (0, 15, 30, 45, 60)),
    "elastic": Strengths("pixels", 8, (0, 1, 2, 3, 4)),
}
_MOST = 1000  # strengths in a range


def parse_strengths(kind: str, text: str) -> list[float]:
    """Parse 1,2,4 or START:STOP or START:STOP:STEP, both ends included.

    Raises InputError for other text, and for strengths out of range.
    """
    unit, most, _ = STRENGTHS[kind]
    try:
        if ":" in text:
            start, stop, step = (float(part) for part in [*text.split(":"), "1"][:3])
            count = int((stop - start) / step + 1e-9) + 1
            strengths = [start + number * step for number in range(count if count <= _MOST else 0)]
        else:
            strengths = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        strengths = []
    if not strengths or text.count(":") > 2 or not all(0 <= strength <= most for strength in strengths):
        example = f"1,2 or 0:{most} or 0:{most}:2"
        raise InputError(
            f"--{kind} {text or repr(text)} is not allowed: give strengths from 0 to {most} {unit}, such as {example}"
        )
    return strengths
