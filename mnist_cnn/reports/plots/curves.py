"""Curves: over epochs, over the values of a sweep, over the strength of a distortion."""

from collections.abc import Mapping, Sequence, Set
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.reports.answers import Robustness
from mnist_cnn.reports.plots.style import COLOURS, GREY, new_figure, with_style
from mnist_cnn.runs.table import number_or_text

Groups = Mapping[str, Mapping[str, Sequence[float]]]  # runs' figures by the other keys and this one's value
_TWO_DECADES = 99.9  # not 100: 0.001 to 0.1, in floating point
_MOST_TICKS = 4  # values of a hyperparameter; more are a range

Epochs = Mapping[str, Sequence[float]]  # of one run: {"train/loss": [...], "train/acc": [...], "val/loss": ...}


@with_style
def plot_learning(epochs: Epochs, test: Mapping[str, float]) -> Figure:
    """Show loss and accuracy by epoch, in training and validation, the test that ended the run, and the learning rate.

    Runs of older versions have no learning rate, `lr`.
    """
    figure, panels = new_figure(8, 2.8, 1, 3 if "lr" in epochs else 2)
    for axes, name in zip(panels, ("loss", "acc"), strict=False):
        for stage, colour, line in (("train", COLOURS[0], "-"), ("val", COLOURS[1], "--")):
            if values := epochs.get(f"{stage}/{name}"):
                axes.plot(range(1, len(values) + 1), values, line, marker=".", color=colour, label=stage)
        if f"test/{name}" in test:
            last = len(epochs[f"train/{name}"])
            axes.plot(last, test[f"test/{name}"], "*", markersize=10, color=COLOURS[2], label="test, once")
        _by_epoch(axes)
        axes.set_title({"loss": "loss (cross-entropy)", "acc": "accuracy"}[name])
    if "lr" in epochs:
        panels[2].plot(range(1, len(epochs["lr"]) + 1), epochs["lr"], marker=".", color=COLOURS[3])
        panels[2].set_ylim(bottom=0)
        panels[2].set_title("learning rate at the epoch's end")
        _by_epoch(panels[2])
    panels[0].legend()
    return figure


@with_style
def plot_curves(rows: Mapping[str, Sequence[Epochs]]) -> Figure:
    """Compare configurations by epoch: thin lines are runs, thick ones their mean.

    Shows the loss in training and validation, and by how much the accuracy in training is above that in validation:
    overfitting. Without validation, loss and accuracy in training.
    """
    validated = all("val/acc" in run for runs in rows.values() for run in runs)
    names = ("train/loss", "val/loss", "gap") if validated else ("train/loss", "train/acc")
    figure, panels = new_figure(8, 3.2, 1, len(names))
    for axes, name in zip(panels, names, strict=True):
        for (label, runs), colour in zip(rows.items(), cycle(COLOURS), strict=False):
            lines = [_curve(run, name) for run in runs]
            for line in lines:
                axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.5, alpha=0.4)
            shortest = min(map(len, lines))
            mean = np.mean([line[:shortest] for line in lines], axis=0)
            axes.plot(range(1, shortest + 1), mean, color=colour, label=label, marker="." if shortest == 1 else "")
        _by_epoch(axes)
        axes.set_title("train/acc − val/acc" if name == "gap" else name)
        if name.endswith("loss"):
            _on_log_scale(axes)
    _legend_below(figure, panels[0])
    return figure


@with_style
def plot_swept(key: str, figures: Mapping[str, Groups]) -> Figure:
    """Show figures by the values of one swept key: a dot per run, mean ± standard deviation, a colour per group.

    Numbers that span two decades or more stand on a log scale, other values at even distances.
    """
    figure, panels = new_figure(8, 3.2, 1, len(figures))
    for axes, (name, groups) in zip(panels, figures.items(), strict=True):
        values = sorted({value for group in groups.values() for value in group}, key=number_or_text)
        line = "-" if _are_numbers(values) else ""
        spaced = np.log10([*map(float, values)]) if spans_decades(values) else range(len(values))
        places = dict(zip(values, spaced, strict=True))
        step = (max(places.values()) - min(places.values())) / max(1, len(values) - 1) or 1
        for number, ((label, group), colour) in enumerate(zip(groups.items(), cycle(COLOURS), strict=False)):
            aside = 0.08 * step * (number - (len(groups) - 1) / 2)
            runs = {place + aside: group[value] for value, place in places.items() if value in group}
            means = [np.mean(each) for each in runs.values()]
            spreads = [float(np.std(each, ddof=1)) if len(each) > 1 else 0.0 for each in runs.values()]
            axes.errorbar([*runs], means, spreads, color=colour, marker="o", capsize=3, linestyle=line, label=label)
            for place, each in runs.items():
                axes.plot([place + 0.04 * step] * len(each), each, ".", color=colour, markersize=3, alpha=0.6)
        axes.set_xticks([*places.values()], [*places])
        axes.margins(x=0.15)
        axes.set_xlabel(key)
        axes.set_title(name)
    _share_scale(panels)
    if len(next(iter(figures.values()))) > 1:
        _legend_below(figure, panels[0])
    return figure


@with_style
def plot_trials(
    params: Sequence[Mapping[str, Any]], scores: Sequence[float], name: str, winner: int | None, logarithmic: Set[str]
) -> Figure:
    """Show the score of each trial, called `name`, by the value of every hyperparameter.

    `winner` is the index of the trial that gets a star. The hyperparameters of `logarithmic` get a log axis.
    """
    keys = [*params[0]]
    columns = min(len(keys), 4)
    rows = -(-len(keys) // columns)
    figure, panels = new_figure(2.4 * columns, 2.5 * rows, rows, columns)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    for axes, key in zip(panels, keys, strict=False):
        texts = [str(each[key]) for each in params]
        values = sorted({*texts}, key=number_or_text)
        is_range = _are_numbers(values) and len(values) > _MOST_TICKS
        places = [float(text) if is_range else values.index(text) for text in texts]
        axes.plot(places, scores, "o", color=COLOURS[0], alpha=0.7)
        if winner is not None:
            axes.plot(places[winner], scores[winner], "*", markersize=14, color=COLOURS[1])
        axes.margins(x=0.15)
        if not is_range:
            axes.set_xticks(range(len(values)), values)
        elif key in logarithmic:
            axes.set_xscale("log")
            _label_plainly(axes.xaxis)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel(key)
    panels[0].set_ylabel(name)
    _share_scale(panels[: len(keys)])
    return figure


@with_style
def plot_robustness(rows: Mapping[str, Sequence[Sequence[Robustness]]], images: int, classes: int = 10) -> Figure:
    """Show accuracy by the strength of each distortion: the mean over a configuration's runs, ± standard deviation."""
    kinds = [each.kind for each in next(iter(rows.values()))[0]]
    figure, panels = new_figure(8, 3.2, 1, len(kinds))
    for number, (axes, kind) in enumerate(zip(panels, kinds, strict=True)):
        for (label, runs), colour in zip(rows.items(), cycle(COLOURS), strict=False):
            found = np.array([run[number].accuracy for run in runs])
            mean, spread = found.mean(axis=0), found.std(axis=0, ddof=1) if len(found) > 1 else 0.0
            axes.plot(runs[0][number].strengths, mean, marker=".", color=colour, label=label)
            axes.fill_between(
                runs[0][number].strengths, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0
            )
        axes.axhline(1 / classes, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlabel=STRENGTHS[kind].unit, ylim=(0, 1.02))
        axes.set_title(kind)
    panels[0].set_ylabel(f"accuracy on {images:,} test images")
    if len(rows) > 1:
        _legend_below(figure, panels[0])
    return figure


def _curve(run: Epochs, name: str) -> Sequence[float]:
    if name != "gap":
        return run[name]
    return [train - val for train, val in zip(run["train/acc"], run["val/acc"], strict=True)]


def _by_epoch(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _on_log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    _label_plainly(axes.yaxis)


def _label_plainly(axis: Axis) -> None:
    """Label a log axis in plain decimals: the style switches mathtext off, which matplotlib writes powers in."""
    low, high = axis.get_view_interval()
    decades = LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,))
    axis.set_major_locator(MaxNLocator(4) if high < 5 * low else decades)
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _share_scale(panels: Sequence[Axes]) -> None:
    """Give all panels the same y axis, so that their figures can be compared."""
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, 120 // (max(map(len, labels)) + 6))  # as many as fit side by side
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def spans_decades(values: Sequence[str]) -> bool:
    """Whether values are positive numbers of which the largest is at least a hundred times the smallest."""
    numbers = [number_or_text(value)[0] for value in values]
    return _are_numbers(values) and min(numbers) > 0 and max(numbers) >= _TWO_DECADES * min(numbers)


def _are_numbers(values: Sequence[str]) -> bool:
    return all(np.isfinite(number_or_text(value)[0]) for value in values)
