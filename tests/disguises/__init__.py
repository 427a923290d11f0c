"""Pictures that people take and programs make: a digit of MNIST in disguises.

Each is a function of the digit and of a generator. They were written, and looked at, before any was tried.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.disguises.drawing import Chance, Digit
from tests.disguises.files import FILES
from tests.disguises.papers import PAPERS
from tests.disguises.pens import PENS
from tests.disguises.programs import PROGRAMS
from tests.disguises.tables import TABLES

Disguise = Callable[[Digit, Chance], Image.Image]

DISGUISES: dict[str, Disguise] = {**PAPERS, **TABLES, **PENS, **FILES, **PROGRAMS}


def disguise(name: str, digit: Digit, number: int) -> Image.Image:
    """Return the digit in a disguise. `number` seeds what differs from picture to picture."""
    return DISGUISES[name](digit, np.random.default_rng(number))
