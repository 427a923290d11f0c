"""Curves: over epochs, over the values of a sweep, over the strength of a distortion."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.reports.answers import Robustness
from mnist_cnn.reports.plots.style import COLOURS, GREY, new_figure, with_style
from mnist_cnn.runs.table import number_or_text

Groups = Mapping[str, Mapping[str, Sequence[float]]]  # runs' figures by the other keys and this one's value
Epochs = Mapping[str, Sequence[float]]  # of one run: {"train/loss": [...], "train/acc": [...], "val/loss": ...}


@with_style
def plot_learning(epochs: Epochs, test: Mapping[str, float]) -> Figure:
    """Show loss and accuracy by epoch, in training and validation, and the test that ended the run."""
    figure, panels = new_figure(8, 2.8, 1, 2)
    for axes, name in zip(panels, ("loss", "acc"), strict=True):
        for stage, colour, line in (("train", COLOURS[0], "-"), ("val", COLOURS[1], "--")):
            if values := epochs.get(f"{stage}/{name}"):
                axes.plot(range(1, len(values) + 1), values, line, marker=".", color=colour, label=stage)
        if f"test/{name}" in test:
            last = len(epochs[f"train/{name}"])
            axes.plot(last, test[f"test/{name}"], "*", markersize=10, color=COLOURS[2], label="test, once")
        _by_epoch(axes)
        axes.set_title({"loss": "loss (cross-entropy)", "acc": "accuracy"}[name])
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
    """Show figures by the values of one swept key: a dot per run, mean ± standard deviation, a colour per group."""
    panels_figure, panels = new_figure(8, 3.2, 1, len(figures))
    for axes, (name, groups) in zip(panels, figures.items(), strict=True):
        values = sorted({value for group in groups.values() for value in group}, key=number_or_text)
        line = "-" if _are_numbers(values) else ""
        for number, ((label, group), colour) in enumerate(zip(groups.items(), cycle(COLOURS), strict=False)):
            aside = 0.08 * (number - (len(groups) - 1) / 2)
            runs = {values.index(value) + aside: group[value] for value in values if value in group}
            means = [np.mean(each) for each in runs.values()]
            spreads = [float(np.std(each, ddof=1)) if len(each) > 1 else 0.0 for each in runs.values()]
            axes.errorbar([*runs], means, spreads, color=colour, marker="o", capsize=3, linestyle=line, label=label)
            for place, each in runs.items():
                axes.plot([place + 0.04] * len(each), each, ".", color=colour, markersize=3, alpha=0.6)
        axes.set_xticks(range(len(values)), values)
        axes.margins(x=0.15)
        axes.set_xlabel(key)
        axes.set_title(name)
    if len(next(iter(figures.values()))) > 1:
        _legend_below(panels_figure, panels[0])
    return panels_figure


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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _on_log_scale(axes: Axes) -> None:
    """Label the ticks in plain decimals: the style switches mathtext off, which matplotlib writes powers in."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, 120 // (max(map(len, labels)) + 6))  # as many as fit side by side
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def _are_numbers(values: Sequence[str]) -> bool:
    return all(np.isfinite(number_or_text(value)[0]) for value in values)
