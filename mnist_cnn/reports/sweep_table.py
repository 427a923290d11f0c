"""The table of a sweep as its page shows it: the best row marked, the spread as a bar, a link to every run."""

import os
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple
from urllib.parse import quote

from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.rendering import FIGURES, Row, Table
from mnist_cnn.runs.table import number_or_text

# the order of columns: what configurations are compared by, then the rest
_FIRST = ("val/acc", "test/acc", "test/f1", "val/loss", "test/loss", "train/acc", "train/loss")


class Cell(NamedTuple):
    """What is shown, its spread, the value it is sorted by, and mean ± spread in percent of the column's range."""

    text: str
    spread: str = ""
    value: str = ""
    bar: tuple[float, float] | None = None  # where it begins, and its width


class Line(NamedTuple):
    """A row: its cells, and its runs as text and link."""

    cells: list[Cell]
    runs: list[tuple[str, str]]
    is_best: bool


class Sheet(NamedTuple):
    """The table: names of columns, whether each has numbers, its lines, and the columns that are alike in all lines."""

    columns: list[tuple[str, bool]]
    lines: list[Line]
    constant: list[tuple[str, str]]


def lay_out(table: Table, folder: Path, best: Row | None) -> Sheet:
    """Lay out a table for a page in `folder`. `best` is the row that is marked."""
    head, *lines = table.cells()
    columns = dict(zip(head, zip(*lines, strict=True), strict=True))
    shown = [*table.keys, *(name for name in _FIRST if name in columns)]
    shown += [name for name in head if name not in shown]
    alike = [name for name in shown if len({*columns[name]}) == 1 and name not in _FIRST and len(lines) > 1]
    shown = [name for name in shown if name not in alike]
    cells = [_figures(name, table.rows, columns[name]) if name in FIGURES else _texts(columns[name]) for name in shown]
    return Sheet(
        [(name, are_numbers(columns[name])) for name in shown],
        [
            Line(list(line), [(_repetition(run), link(run, folder)) for run in row.complete], row is best)
            for row, line in zip(table.rows, zip(*cells, strict=True), strict=True)
        ],
        [(name, columns[name][0]) for name in alike],
    )


def are_numbers(column: Sequence[str]) -> bool:
    """Whether the cells of a column are numbers, with or without a spread, or empty: then they stand to the right."""
    parts = [cell.partition(" ± ")[0].replace(",", "") for cell in column]
    return all(isfinite(number_or_text(part)[0]) for part in parts if part)


def _texts(column: Sequence[str]) -> list[Cell]:
    return [Cell(text, value=text) for text in column]


def _figures(name: str, rows: Sequence[Row], column: Sequence[str]) -> list[Cell]:
    values = [row.figures.get(name, []) for row in rows]
    spreads = {place: (mean(each), stdev(each)) for place, each in enumerate(values) if len(each) > 1}
    low = min((middle - spread for middle, spread in spreads.values()), default=0.0)
    high = max((middle + spread for middle, spread in spreads.values()), default=0.0)
    cells = []
    for place, (each, text) in enumerate(zip(values, column, strict=True)):
        middle, _, spread = text.partition(" ± ")
        bar = None
        if spread and high > low:
            begin = 100 * (spreads[place][0] - spreads[place][1] - low) / (high - low)
            bar = (round(begin, 1), round(200 * spreads[place][1] / (high - low), 1))
        cells.append(Cell(middle, spread, repr(mean(each)) if each else "", bar))
    return cells


def link(run: Run, folder: Path) -> str:
    """Return the way from `folder` to a run's report, or to its directory if it has none."""
    file = "report.html" if (run.path / "report.html").is_file() else ""
    return quote(f"{Path(os.path.relpath(run.path, folder)).as_posix()}/{file}")


def _repetition(run: Run) -> str:
    """Return what tells a run from the others of its row."""
    settings = run.settings()
    return f"seed {settings.get('seed', '?')}" + (f", fold {fold}" if (fold := settings.get("data.fold")) else "")
