"""The page of a sweep: its table, a plot for each swept key, the curves and the robustness of all configurations."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.errors import InputError
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.summary import LayerRow, layer_rows
from mnist_cnn.reports import plots
from mnist_cnn.reports.answers import Robustness, robustness, spread_subset
from mnist_cnn.reports.comparison import compare_with_best, paired_by
from mnist_cnn.reports.page import TEMPLATES, Page, Picture
from mnist_cnn.reports.sweep_table import lay_out
from mnist_cnn.runs.checkpoint import load_classifier
from mnist_cnn.runs.rendering import Row, Table
from mnist_cnn.runs.table import RANKED_BY, compare, find_runs, number_or_text
from mnist_cnn.runs.trained import load_trained

_MOST_LINES = 8  # in one plot: as many as there are colours
_DISTORTED = 500  # test images, for each run: 1.5 s of CPU


def report_sweep(folder: Path, data_dir: Path | None = None) -> Page:
    """Compare the complete runs of a sweep, and return the page about them.

    Raises InputError if none is complete, or if their data cannot be used.
    """
    runs = find_runs(folder)
    table = compare(runs)
    rows = {_label(row): row for row in table.rows if row.complete}
    if not rows:
        raise InputError(f"{folder} holds no complete run: there is nothing to compare yet")
    is_ranked = len(rows) > 1 and all(RANKED_BY in row.figures for row in rows.values())
    best = next(iter(rows.values())) if is_ranked else None
    networks = {label: load_classifier(row.complete[0].path) for label, row in rows.items()}
    values = {
        "name": folder.resolve().name,
        "command": _commands(folder),
        "datasets": _datasets(rows),
        "sheet": lay_out(table, folder, best),
        "note": table.note,
        "conclusions": _conclusions(rows, best),
        "networks": _distinct({label: layer_rows(each.net) for label, each in networks.items()}),
    }
    return Page(TEMPLATES / "sweep.html", values, list(_pictures(table, rows, data_dir)))


def _conclusions(rows: Mapping[str, Row], best: Row | None) -> list[str]:
    """Say in sentences how the best row compares with the others, the next one first."""
    if len(rows) < 2:
        return []
    if best is None:
        return [f"Not all runs have {RANKED_BY}, and the test set is no basis for a choice: set data.val_size."]
    if len(_datasets(rows)) > 1:
        return ["The runs were trained on different data sets, and are not compared."]
    ranked = [*rows.values()]
    how, winner = paired_by(ranked), _short_label(best)
    compared = compare_with_best(ranked, RANKED_BY)
    return [each.describe(RANKED_BY, winner, _short_label(each.other), how) for each in compared]


def _pictures(table: Table, rows: Mapping[str, Row], data_dir: Path | None) -> Iterator[Picture]:
    names = [name for name in (RANKED_BY, "test/acc") if all(name in row.figures for row in rows.values())]
    varied = [key for key in table.keys if len({row.swept[key] for row in rows.values()}) > 1]
    for key in varied if names else []:
        figures = {name: _by_other_keys(key, name, table.keys, list(rows.values())) for name in names}
        if len(figures[names[0]]) <= _MOST_LINES:
            values = {value for group in figures[names[0]].values() for value in group}
            spaced = "The axis is logarithmic." if plots.spans_decades([*values]) else "Values are evenly spaced."
            caption = f"Small dots are runs, large ones their mean ± standard deviation. {spaced}"
            draw = partial(plots.plot_swept, key, figures)
            yield Picture(f"by-{key}", f"Accuracy by {key}", caption, draw, _means(names[0], rows))
    shown = dict(list(rows.items())[:_MOST_LINES])
    first = "" if len(shown) == len(rows) else f" The first {_MOST_LINES} rows of the table."
    epochs = {label: [run.curves() for run in row.complete] for label, row in shown.items()}
    if all({"train/loss", "train/acc"} <= run.keys() for runs in epochs.values() for run in runs):
        caption = f"Thin lines are runs, thick ones their mean. Training is measured while the weights change.{first}"
        yield Picture("curves", "Learning curves", caption, partial(plots.plot_curves, epochs))
    if len(_datasets(shown)) == 1:
        found, images, classes = _robustness(shown, data_dir)
        spread = "mean ± standard deviation. Dotted line: random guessing"
        caption = f"Test images shifted, turned, and elastically distorted: {spread}.{first}"
        yield Picture("robustness", "Robustness", caption, partial(plots.plot_robustness, found, images, classes))


def _robustness(rows: Mapping[str, Row], data_dir: Path | None) -> tuple[dict[str, list[list[Robustness]]], int, int]:
    """Measure all complete runs on the same images. Returns accuracies by row and run; how many images and classes."""
    runs = [(label, run) for label, row in rows.items() for run in row.complete]
    test = spread_subset(load_trained(runs[0][1].path, data_dir).test, _DISTORTED)
    classifiers: list[DigitClassifier] = [load_classifier(run.path) for _, run in runs]
    by_kind = [robustness(classifiers, test, kind) for kind in STRENGTHS]
    found = defaultdict[str, list[list[Robustness]]](list)
    for (label, _), kinds in zip(runs, zip(*by_kind, strict=True), strict=True):
        found[label].append(list(kinds))
    return dict(found), len(test.labels), len(classifiers[0].classes)


def _by_other_keys(key: str, name: str, keys: Sequence[str], rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Group a figure by the values of the other keys, and within a group by those of this one."""
    groups = defaultdict[str, dict[str, list[float]]](dict)
    for row in sorted(rows, key=lambda row: [number_or_text(value) for value in row.swept.values()]):
        others = ", ".join(f"{other}={row.swept[other] or '(default)'}" for other in keys if other != key)
        groups[others][row.swept[key] or "(default)"] = row.figures[name]
    return dict(groups)


def _commands(folder: Path) -> str:
    """Return the commands that the sweep has recorded; nothing for a search, or a folder of single runs."""
    file = folder / "command.txt"
    return file.read_text("utf-8").strip() if file.is_file() else ""


def _datasets(rows: Mapping[str, Row]) -> list[str]:
    return sorted({str(run.result().get("dataset")) for row in rows.values() for run in row.complete})


def _means(name: str, rows: Mapping[str, Row]) -> str:
    """Say the mean of a figure in each row, of the first eight."""
    return f"{name}: " + "; ".join(
        f"{label} {mean(row.figures[name]):.4f}" for label, row in [*rows.items()][:_MOST_LINES]
    )


def _short_label(row: Row) -> str:
    """Return the label of a row in a sentence: the value alone, if only one key was swept."""
    return next(iter(row.swept.values())) or "(default)" if len(row.swept) == 1 else _label(row)


def _label(row: Row) -> str:
    return ", ".join(f"{key}={value or '(default)'}" for key, value in row.swept.items()) or "all runs"


def _distinct(tables: Mapping[str, list[LayerRow]]) -> list[tuple[list[str], list[LayerRow], int]]:
    """Join the configurations that have the same layers: their labels, the layers, and all parameters."""
    joined = defaultdict[tuple[LayerRow, ...], list[str]](list)
    for label, layers in tables.items():
        joined[tuple(layers)].append(label)
    return [(labels, list(layers), sum(row.parameters for row in layers)) for layers, labels in joined.items()]
