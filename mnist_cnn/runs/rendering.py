"""A table of runs, and how it is written: as aligned text, markdown, CSV or JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import mean, stdev
from textwrap import wrap
from typing import Any

from mnist_cnn.differences import Differences
from mnist_cnn.runs.directory import Run
from mnist_cnn.terminal import break_fields

FIGURES = (
    *("parameters", "epochs", "best_epoch", "seconds", "train/loss", "train/acc", "val/loss", "val/acc"),
    *("test/loss", "test/acc", "test/f1"),
)
_DIGITS = {"parameters": 0, "epochs": 0, "best_epoch": 0, "seconds": 1}  # after the decimal point; the others have 4


@dataclass
class Row:
    """One configuration: what was swept, how its runs ended, and the figures of the complete ones."""

    swept: dict[str, str]
    statuses: Counter[str] = field(default_factory=Counter)
    figures: dict[str, list[float]] = field(default_factory=dict)
    complete: list[Run] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.complete)

    @property
    def status(self) -> str:
        """The status of its runs; if they differ, how many runs have each."""
        if len(self.statuses) == 1:
            return next(iter(self.statuses))
        return ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))

    def add(self, run: Run, status: str) -> None:
        """Count a run, and its figures if it is complete."""
        self.statuses[status] += 1
        if status == "complete":
            self.complete.append(run)
            for name, value in read_figures(run.result()).items():
                self.figures.setdefault(name, []).append(value)


@dataclass(frozen=True)
class Table:
    """Rows in their order, a line that says how they are ordered, and the outdated runs, which have no figures here."""

    keys: list[str]
    rows: list[Row]
    note: str
    outdated: dict[Run, Differences] = field(default_factory=dict)  # with what differs

    def cells(self) -> list[list[str]]:
        """Return the header and the rows as text."""
        names = [name for name in FIGURES if any(row.figures.get(name) for row in self.rows)]
        sizes = {size for row in self.rows for size in row.figures.get("parameters", [])}
        names = [name for name in names if name != "parameters" or len(sizes) > 1]
        lines = [[*self.keys, "n", "status", *names]]
        for row in self.rows:
            figures = [render_figure(name, row.figures.get(name, [])) for name in names]
            lines.append([*(row.swept.get(key, "") for key in self.keys), str(row.n), row.status, *figures])
        return lines

    def records(self) -> list[dict[str, Any]]:
        """Return a flat record per row, with full precision: name and name_sd of each figure."""
        records = []
        for row in self.rows:
            record: dict[str, Any] = {key: row.swept.get(key, "") for key in self.keys}
            record |= {"n": row.n, "status": row.status}
            for name in FIGURES:
                values = row.figures.get(name, [])
                record[name] = round(mean(values), 6) if values else None
                record[f"{name}_sd"] = round(stdev(values), 6) if len(values) > 1 else None
            records.append(record)
        return records

    def render(self, kind: str = "text", width: int | None = None) -> str:
        """Write the table as text, if necessary to fit a terminal of this width, or as csv, json or markdown."""
        if kind in ("json", "csv"):
            return render_records(self.records(), kind)
        head, *lines = self.cells()
        if kind == "markdown":
            return "\n".join([*align_markdown(head, lines), "", self.note])
        optional = [name for name in FIGURES if name not in self.note.split()]  # it is ranked by the other
        return "\n".join([*align_to_fit([head, *lines], width, optional), self.note])


def align(lines: Sequence[Sequence[str]], left: str = "", between: str = "  ", right: str = "") -> list[str]:
    """Write lines of cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [between.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return [f"{left}{line}{right}".rstrip() for line in padded]


def align_to_fit(lines: Sequence[Sequence[str]], width: int | None, optional: Sequence[str] = ()) -> list[str]:
    """Write lines of cells in columns, the first line as their header; None: they may be as wide as they are.

    If they are wider than a terminal, what all lines share stands above them, headers lose their group (model.padding
    becomes padding), and the first of the `optional` columns are left out. If that is not enough, there are no columns:
    each line is broken, and names its values.
    """
    if width is None or _width(lines) <= width:
        return align(lines)
    columns = {column[0]: column[1:] for column in zip(*lines, strict=True)}
    shared = {name: cells[0] for name, cells in columns.items() if len({*cells}) == 1}
    differing = {name: cells for name, cells in columns.items() if name not in shared}
    above = [_name_values(shared, shared.values(), width)] if any(shared.values()) else []
    kept, left_out = dict(differing), list[str]()
    for name in optional:
        if name in kept and _width(_with_header(kept)) > width:
            left_out.append(name)
            del kept[name]
    if _width(_with_header(kept)) > width:
        names, *rows = _with_header(differing)
        return [*above, *(_name_values(names, row, width) for row in rows)]
    below = wrap(f"no room for {', '.join(left_out)}", width, subsequent_indent="  ") if left_out else []
    return [*above, *align(_with_header(kept)), *below]


def _name_values(names: Iterable[str], values: Iterable[str], width: int) -> str:
    pairs = (f"{name} {value}" for name, value in zip(names, values, strict=True) if value)
    return break_fields("  ".join(pairs), width)


def _with_header(columns: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Return columns as lines, below their names without the group, unless two would have the same name."""
    short = Counter(name.rpartition(".")[2] for name in columns)
    names = [last if short[last := name.rpartition(".")[2]] == 1 else name for name in columns]
    return [*zip(*((name, *cells) for name, cells in zip(names, columns.values(), strict=True)), strict=True)]


def _width(lines: Sequence[Sequence[str]]) -> int:
    return max(map(len, align(lines)), default=0)


def align_markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Write a header and lines of cells as a markdown table."""
    rule = ["-" * max(map(len, column)) for column in zip(*lines, strict=True)]
    return align([head, rule, *lines], "| ", " | ", " |")


def render_records(records: Sequence[Mapping[str, Any]], kind: str) -> str:
    """Write records as json or csv."""
    if kind == "json":
        return json.dumps(records, indent=2)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for record in records for key in record)) or ["n"])
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\r\n")


def render_figure(name: str, values: Sequence[float]) -> str:
    """Write the mean of a figure over several runs; for losses and accuracies also the standard deviation."""
    if not values:
        return ""
    digits = _DIGITS.get(name, 4)
    form = f",.{digits}f" if max(map(abs, values)) < 1e6 or not digits else ".1e"  # a loss that explodes may be 1e26
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 and digits == 4 else ""
    return f"{mean(values):{form}}{spread}"


def read_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a result."""
    seconds = result.get("seconds_per_epoch")
    numbers = {**result, "seconds": sum(seconds) if isinstance(seconds, list) else None}
    found = {name: float(numbers[name]) for name in FIGURES if isinstance(numbers.get(name), int | float)}
    return {name: value for name, value in found.items() if isfinite(value)}
