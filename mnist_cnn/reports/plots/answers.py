"""Pictures of what a classifier answered: confusion, mistakes, calibration."""

from typing import Final

import numpy as np
from matplotlib.figure import Figure

from mnist_cnn.reports.answers import Answers, wilson
from mnist_cnn.reports.plots.network import plot_digits
from mnist_cnn.reports.plots.style import COLOURS, GREY, new_figure, shorten_name, with_style

SHOWN: Final = 24  # mistakes
_PALE = 2.3  # the darkest shade is so light that numbers are readable, 4.5:1, also where a page inverts it
_NUMBERED = 50  # classes: the matrix of more has colours alone
_ONE_SIGMA = 0.6827  # the level of an interval that is one standard error to either side


@with_style
def plot_confusion(answers: Answers) -> Figure:
    """Show how often each label got each answer. Shaded: the mistakes; the diagonal is right."""
    counts = answers.confusion().numpy()
    mistakes = counts * (1 - np.eye(len(counts), dtype=int))
    side = max(5.0, 0.3 * len(counts))
    figure, (axes,) = new_figure(side, side - 0.4)
    shaded = np.where(mistakes > 0, mistakes, np.nan)
    axes.imshow(
        shaded, cmap="Oranges", vmin=0, vmax=max(1, 2.3 * mistakes.max())
    )  # text stays readable, also where a page inverts the colours
    for (label, given), count in np.ndenumerate(counts) if len(counts) <= _NUMBERED else ():
        right = label == given
        axes.text(given, label, f"{count:,}" if count else "·", ha="center", va="center", fontsize=7,
                  color=GREY if right or not count else "black", weight="normal" if right else "bold")  # fmt: skip
    names = [shorten_name(name) for name in answers.classes]
    axes.set_xticks(range(len(counts)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(counts)), names)
    axes.set(xlabel="answer", ylabel="label")
    axes.set_title(f"{mistakes.sum():,} mistakes in {counts.sum():,} test images")
    axes.grid(visible=False)
    return figure


@with_style
def plot_misclassified(answers: Answers) -> Figure:
    """Show the misclassified images, at most 24 of them, the most confident answers first. There must be one."""
    shown = answers.wrong[:SHOWN]
    names = [shorten_name(name) for name in answers.classes]
    pairs = [(names[answers.labels[i]], names[answers.predicted[i]], answers.confidence[i]) for i in shown]
    between = " read as " if max(map(len, names)) <= 3 else "\n→ "
    titles = [f"{label}{between}{given}\n{confidence:.3f}" for label, given, confidence in pairs]
    return plot_digits(answers.images[shown], titles)


@with_style
def plot_calibration(answers: Answers) -> Figure:
    """Compare how sure the answers were with how often they were right, from doubtful to sure."""
    bins = answers.confidence_bins()
    said, was = [each.confidence for each in bins], np.array([each.accuracy for each in bins])
    intervals = [wilson(round(each.accuracy * each.images), each.images, _ONE_SIGMA) for each in bins]
    low, high = np.array(intervals).T
    figure, (axes,) = new_figure(5, 3.2)
    error = np.clip([was - low, high - was], 0, None)
    axes.errorbar(range(len(bins)), was, error, fmt="o", color=COLOURS[0], label="right (± standard error)")
    axes.plot(range(len(bins)), said, "_", color=COLOURS[1], markersize=16, markeredgewidth=2, label="mean confidence")
    ticks = [f"≤{each.high:g}\n{each.images:,}" for each in bins]
    axes.set_xticks(range(len(bins)), ticks, fontsize=7)
    axes.set(xlabel="confidence of the answer, and number of images", ylabel="share", ylim=(0, 1.05))
    axes.set_title(f"expected calibration error (ECE): {answers.calibration_error():.4f}")
    axes.legend(loc="lower right")
    return figure
