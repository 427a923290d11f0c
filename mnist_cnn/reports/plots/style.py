"""The one style of all pictures: quiet, readable in print and by the colour-blind."""

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")  # Okabe, Ito
INK: Final = "gray_r"  # a digit, or a response: the darker, the more
TILES: Final = mpl.colormaps[INK].with_extremes(bad="#c5d9e8")  # the gaps between tiles
SIGNED: Final = mpl.colormaps["RdBu_r"].with_extremes(bad="#999999")  # red above zero, blue below; gaps are grey
GREY: Final = "#666666"
LONGEST_NAME: Final = 12  # letters of a class

P = ParamSpec("P")
R = TypeVar("R")


def with_style(plot: Callable[P, R]) -> Callable[P, R]:
    """Draw in the style of quiet.mplstyle; matplotlib's own settings stay as they are."""

    @wraps(plot)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings(), mpl.rc_context(fname=Path(__file__).with_name("quiet.mplstyle")):
            warnings.filterwarnings("ignore", message="Glyph")  # a class may be named in any script
            return plot(*args, **kwargs)

    return styled


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of that size, in inches, and its panels, row by row."""
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(rows, columns, squeeze=False, height_ratios=heights).flat)


def hide_ticks(axes: Axes) -> None:
    """Leave a panel that shows an image nothing but a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#cccccc", linewidth=0.5)


def shorten_name(name: str) -> str:
    """Shorten the name of a class to what fits above a small picture."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
