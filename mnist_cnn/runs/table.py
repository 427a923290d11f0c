"""A table over many runs: a row for each configuration; over its seeds and folds, mean ± standard deviation."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mnist_cnn.differences import Differences, differences, is_decisive, neutral
from mnist_cnn.errors import InputError, one_of
from mnist_cnn.files import relative
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.standing import Standing, standing
from mnist_cnn.searchpath import searchpath
from mnist_cnn.settings import conf_digest

FIGURES = ("parameters", "epochs", "seconds", "train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc")
RANKED_BY = "val/acc"
_REPEATS = {"seed", "data.fold"}  # runs that differ in these alone repeat each other


@dataclass(frozen=True)
class _Entry:
    """A run: its overrides by key, where it stands, and if it is complete what it was trained with, and on."""

    run: Run
    overrides: Mapping[str, str]
    standing: Standing
    settings: Mapping[str, Any]

    @staticmethod
    def read(run: Run, overrides: Sequence[str], conf: str) -> "_Entry":
        """Read a run directory."""
        stands, settings = standing(run, overrides, conf), run.settings()
        if stands.status != "complete" or not settings:
            settings = {}
        else:
            settings = {**settings, "dataset": run.result().get("dataset")}  # the sample may have stood in for MNIST
        return _Entry(run, dict(each.partition("=")[::2] for each in overrides), stands, settings)

    def cells(self, keys: Sequence[str], hidden: Sequence[str] = ()) -> dict[str, str]:
        """Return the values of overrides, and of settings."""
        settings = {key: str(value) for key, value in self.settings.items() if value is not None}
        given = {key: self.overrides.get(key, settings.get(key, "")) for key in keys}
        return given | {key: str(self.settings.get(key, neutral(key))) if self.settings else "" for key in hidden}


@dataclass
class Row:
    """One configuration: what was swept, how its runs ended, and the figures of the complete ones."""

    swept: dict[str, str]
    statuses: Counter[str] = field(default_factory=Counter)
    figures: dict[str, list[float]] = field(default_factory=dict)
    complete: list[Run] = field(default_factory=list)

    @property
    def n(self) -> int:
        """The number of complete runs."""
        return len(self.complete)

    def add(self, entry: _Entry) -> None:
        """Count a run, and its figures if it is complete."""
        self.statuses[entry.standing.status] += 1
        if entry.standing.status == "complete":
            self.complete.append(entry.run)
            for name, value in _figures(entry.run.result()).items():
                self.figures.setdefault(name, []).append(value)


@dataclass(frozen=True)
class Table:
    """Rows in their order, a line that says how they are ordered, and the outdated runs, which count nowhere."""

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
            figures = [_figure(name, row.figures.get(name, [])) for name in names]
            lines.append([*(row.swept.get(key, "") for key in self.keys), str(row.n), _status(row), *figures])
        return lines

    def records(self) -> list[dict[str, Any]]:
        """Return a flat record per row, with full precision: name and name_sd of each figure."""
        records = []
        for row in self.rows:
            record: dict[str, Any] = {**{key: row.swept.get(key, "") for key in self.keys}}
            record |= {"n": row.n, "status": _status(row)}
            for name in FIGURES:
                values = row.figures.get(name, [])
                record[name] = round(mean(values), 6) if values else None
                record[f"{name}_sd"] = round(stdev(values), 6) if len(values) > 1 else None
            records.append(record)
        return records

    def render(self, kind: str = "text") -> str:
        """Write the table as text, csv, json or markdown."""
        if kind in ("json", "csv"):
            return render_records(self.records(), kind)
        head, *lines = self.cells()
        if kind == "markdown":
            rule = ["-" * max(map(len, column)) for column in zip(*lines, strict=True)]
            return "\n".join([*align([head, rule, *lines], "| ", " | ", " |"), "", self.note])
        return "\n".join([*align([head, *lines]), self.note])


def list_runs(runs: Mapping[Run, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a flat record per run: its directory, status, figures and decisive settings."""
    conf = cache(conf_digest)
    records = []
    for run, overrides in runs.items():
        status, result = standing(run, overrides, conf(searchpath(overrides))).status, run.result()
        figures = _figures(result) if status in ("complete", "outdated") else {}
        about: dict[str, Any] = {"run": relative(run.path), "status": status, "dataset": result.get("dataset")}
        shown = {name: int(value) if name in ("parameters", "epochs") else value for name, value in figures.items()}
        records.append(about | {name: shown.get(name) for name in FIGURES} | run.settings())
    keys = dict.fromkeys(key for record in records for key in record)
    return [{key: record.get(key) for key in keys} for record in records]


def render_records(records: Sequence[Mapping[str, Any]], kind: str) -> str:
    """Write records as json or csv."""
    if kind == "json":
        return json.dumps(records, indent=2)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(records[0]) if records else ["n"])
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\r\n")


def align(lines: Sequence[Sequence[str]], left: str = "", between: str = "  ", right: str = "") -> list[str]:
    """Write lines of cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [between.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return [f"{left}{line}{right}".rstrip() for line in padded]


def find_runs(folder: Path) -> dict[Run, Sequence[str]]:
    """Find the runs below a folder, complete or not, with their overrides.

    Raises InputError if there are none.
    """
    if not (found := runs_below(folder)):
        raise InputError(f"{folder} holds no runs: give the folder of a sweep")
    return found


def runs_below(folder: Path) -> dict[Run, Sequence[str]]:
    """Return the runs below a folder, which may be none."""
    found = {file.parent for name in (".lock", "result.json") for file in folder.rglob(name)}
    return {run: run.overrides() for run in map(Run, sorted(found))}


def compare(runs: Mapping[Run, Sequence[str]], sort: str | None = None) -> Table:
    """Compare runs, complete or not, by their overrides; order them by `sort`, or by val/acc if all have it.

    A row folds runs of equal settings alone: an outdated run has no figures, a copy of a run counts once, and settings
    that differ although the overrides do not become columns.
    Raises InputError if there is no such column.
    """
    conf = cache(conf_digest)
    entries = [_Entry.read(run, overrides, conf(searchpath(overrides))) for run, overrides in runs.items()]
    keys = _swept_keys(entries)
    hidden = _hidden_keys(keys, entries)
    rows: dict[tuple[str, ...], Row] = {}
    known = set[tuple[str, ...]]()
    for entry in entries:
        swept = entry.cells(keys, hidden)
        row = rows.setdefault(tuple(swept.values()), Row(swept))
        if entry.settings:
            copy = (*swept.values(), json.dumps(entry.settings, sort_keys=True))
            if copy in known:
                row.statuses["copy"] += 1
                continue
            known.add(copy)
        row.add(entry)
    table = _order([*keys, *hidden], list(rows.values()), sort)
    return replace(table, outdated={each.run: each.standing.changed for each in entries if each.standing.changed})


def _swept_keys(entries: Sequence[_Entry]) -> list[str]:
    """Return the overrides in which runs differ, seeds and folds left out.

    One that decides no result counts if it names the folder of every run: then it was swept on purpose.
    """
    given = [entry.overrides for entry in entries]
    keys = sorted({key for overrides in given for key in overrides} - _REPEATS)
    varied = [key for key in keys if len({overrides.get(key) for overrides in given}) > 1]
    return [key for key in varied if is_decisive(key) or all(f"{key}=" in entry.run.path.name for entry in entries)]


def _hidden_keys(keys: Sequence[str], entries: Sequence[_Entry]) -> list[str]:
    """Return the settings in which complete runs differ whose overrides do not."""
    alike, found = dict[tuple[str, ...], Mapping[str, Any]](), set[str]()
    for entry in entries:
        if entry.settings:
            first = alike.setdefault(tuple(entry.cells(keys).values()), entry.settings)
            found |= differences(first, entry.settings).keys()
    return sorted(found - _REPEATS)


def _order(keys: list[str], rows: list[Row], sort: str | None) -> Table:
    most = max(row.n for row in rows)
    whole = [row for row in rows if row.n == most > 0]
    partial = [row for row in rows if row not in whole]
    if sort in keys:
        return Table(keys, sorted(rows, key=lambda row: number_or_text(row.swept[str(sort)])), f"ordered by {sort}")
    if sort is not None:
        one_of("--sort", sort, [*keys, *FIGURES])
    by = sort or RANKED_BY
    if not all(by in row.figures for row in whole) or not whole:
        reason = "no validation split: give data.val_size=5000" if sort is None else f"not all have {sort}"
        return Table(keys, rows, f"not ranked: {reason}" if whole else "not ranked: no run is complete")
    best_is_low = by.endswith("loss") or by in ("parameters", "epochs", "seconds")
    whole.sort(key=lambda row: mean(row.figures[by]), reverse=not best_is_low)
    missing = "; rows with incomplete or outdated runs come last" if partial else ""
    return Table(keys, [*whole, *partial], f"ranked by {by}{missing}")


def number_or_text(value: str) -> tuple[float, str]:
    """Return a key to sort values by: numbers by their size, then text."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a result."""
    seconds = result.get("seconds_per_epoch")
    numbers = {**result, "seconds": sum(seconds) if isinstance(seconds, list) else None}
    found = {name: float(numbers[name]) for name in FIGURES if isinstance(numbers.get(name), int | float)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _figure(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = {"parameters": 0, "epochs": 0, "seconds": 1}.get(name, 4)
    form = f",.{digits}f" if max(map(abs, values)) < 1e6 or not digits else ".1e"  # a loss that explodes may be 1e26
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 and digits == 4 else ""
    return f"{mean(values):{form}}{spread}"


def _status(row: Row) -> str:
    if len(row.statuses) == 1:
        return next(iter(row.statuses))
    return ", ".join(f"{count} {status}" for status, count in sorted(row.statuses.items()))
