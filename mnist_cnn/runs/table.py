"""A table over many runs: a row for each configuration, with mean ± standard deviation over its seeds and folds."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from statistics import mean
from typing import Any

from mnist_cnn.differences import differences, is_decisive, neutral
from mnist_cnn.errors import InputError, one_of
from mnist_cnn.files import relative
from mnist_cnn.runs.directory import Run
from mnist_cnn.runs.rendering import FIGURES, Row, Table, read_figures
from mnist_cnn.runs.standing import Standing, standing
from mnist_cnn.searchpath import searchpath
from mnist_cnn.settings import by_key, conf_digest

RANKED_BY = "val/acc"
_REPEATS = {"seed", "data.fold"}  # runs that differ only in these are repetitions


@dataclass(frozen=True)
class _Entry:
    """A run: its overrides by key, where it stands, and if it is complete its settings and its data set."""

    run: Run
    overrides: Mapping[str, str]
    standing: Standing
    settings: Mapping[str, Any]

    @staticmethod
    def read(run: Run, overrides: Sequence[str], conf: str) -> "_Entry":
        """Read a run directory."""
        stands = standing(run, overrides, conf)
        settings = {**stands.settings, "dataset": run.result().get("dataset")}  # the sample may have stood in for MNIST
        return _Entry(run, by_key(overrides), stands, settings if stands.is_done else {})

    def cells(self, keys: Sequence[str], hidden: Sequence[str] = ()) -> dict[str, str]:
        """Return the values of overrides, and of settings."""
        settings = {key: str(value) for key, value in self.settings.items() if value is not None}
        given = {key: self.overrides.get(key, settings.get(key, "")) for key in keys}
        return given | {key: str(self.settings.get(key, neutral(key))) if self.settings else "" for key in hidden}


def find_runs(folder: Path) -> dict[Run, Sequence[str]]:
    """Find the runs below a folder, complete or not, with their overrides.

    Raises InputError if there are none.
    """
    if not (found := runs_below(folder)):
        raise InputError(f"{folder} holds no runs: give the folder of a sweep")
    return found


def runs_below(folder: Path) -> dict[Run, Sequence[str]]:
    """Return the runs below a folder with their overrides; there may be none."""
    walk = os.walk(folder)  # unlike rglob, it skips folders that cannot be read or vanish meanwhile
    found = {Path(path) for path, _, names in walk if {".lock", "result.json"} & {*names}}
    return {run: run.overrides() for run in map(Run, sorted(found))}


def list_runs(runs: Mapping[Run, Sequence[str]]) -> list[dict[str, Any]]:
    """Return a flat record per run: its directory, status, figures and decisive settings."""
    records = []
    for entry in _read(runs):
        status, result = entry.standing.status, entry.run.result()
        figures = read_figures(result) if status in ("complete", "outdated") else {}
        about = {"run": relative(entry.run.path), "status": status, "dataset": result.get("dataset")}
        shown = {name: int(value) if name in ("parameters", "epochs") else value for name, value in figures.items()}
        records.append(about | {name: shown.get(name) for name in FIGURES} | {**entry.standing.settings})
    keys = dict.fromkeys(key for record in records for key in record)
    return [{key: record.get(key) for key in keys} for record in records]


def compare(runs: Mapping[Run, Sequence[str]], sort: str | None = None) -> Table:
    """Compare runs, complete or not, by their overrides. Order them by `sort`, or by val/acc if all have it.

    A row folds only runs of equal settings: an outdated run has no figures, a copy of a run counts once, and settings
    become columns if they differ although the overrides do not.
    Raises InputError if there is no such column.
    """
    entries = _read(runs)
    keys = _swept_keys(entries)
    hidden = _hidden_keys(keys, entries)
    rows: dict[tuple[str, ...], Row] = {}
    known = set[tuple[str, ...]]()
    for entry in entries:
        swept = entry.cells(keys, hidden)
        row = rows.setdefault(tuple(swept.values()), Row(swept))
        copy = (*swept.values(), json.dumps(entry.settings, sort_keys=True))
        if entry.settings and copy in known:
            row.statuses["copy"] += 1
        else:
            known.add(copy)
            row.add(entry.run, entry.standing.status)
    table = _order([*keys, *hidden], list(rows.values()), sort)
    return replace(table, outdated={each.run: each.standing.changed for each in entries if each.standing.changed})


def _read(runs: Mapping[Run, Sequence[str]]) -> list[_Entry]:
    conf = cache(conf_digest)
    return [_Entry.read(run, overrides, conf(searchpath(overrides))) for run, overrides in runs.items()]


def _swept_keys(entries: Sequence[_Entry]) -> list[str]:
    """Return the overrides in which runs differ, except seeds and folds.

    One that is not decisive counts only if it names the folder of every run: then it was swept on purpose.
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
        reason = "no validation split: set data.val_size" if sort is None else f"not all have {sort}"
        return Table(keys, rows, f"not ranked: {reason}" if whole else "not ranked: no run is complete")
    best_is_low = by.endswith("loss") or by in ("parameters", "epochs", "seconds")
    whole.sort(key=lambda row: mean(row.figures[by]), reverse=not best_is_low)
    missing = "; rows with fewer complete runs come last" if partial else ""
    return Table(keys, [*whole, *partial], f"ranked by {by}{missing}")


def number_or_text(value: str) -> tuple[float, str]:
    """Return a key to sort values by: numbers by their size, then text."""
    try:
        return float(value), ""
    except ValueError:
        return inf, value
