"""Pictures of what a classifier answered: confusion, mistakes, calibration."""

import numpy as np
from matplotlib.figure import Figure

from mnist_cnn.reports.answers import Answers
from mnist_cnn.reports.plots.network import plot_digits
from mnist_cnn.reports.plots.style import COLOURS, GREY, new_figure, shorten_name, with_style

_SHOWN = 24  # mistakes
_NUMBERED = 50  # classes: the matrix of more has colours alone
_EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of confidence: most answers are near 1


@with_style
def plot_confusion(answers: Answers) -> Figure:
    """Show how often each label got each answer. Shaded: the mistakes; the diagonal is right."""
    counts = answers.confusion().numpy()
    mistakes = counts * (1 - np.eye(len(counts), dtype=int))
    side = max(5.0, 0.3 * len(counts))
    figure, (axes,) = new_figure(side, side - 0.4)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, 1.5 * mistakes.max()))
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
    shown = answers.wrong[:_SHOWN]
    names = [shorten_name(name) for name in answers.classes]
    pairs = [(names[answers.labels[i]], names[answers.predicted[i]], answers.confidence[i]) for i in shown]
    between = " read as " if max(map(len, names)) <= 3 else "\n→ "
    titles = [f"{label}{between}{given}\n{confidence:.3f}" for label, given, confidence in pairs]
    return plot_digits(answers.images[shown], titles)


@with_style
def plot_calibration(answers: Answers) -> Figure:
    """Compare how sure the answers were with how often they were right, from doubtful to sure."""
    confidence, right = answers.confidence.double().numpy(), (answers.predicted == answers.labels).double().numpy()
    place = np.searchsorted(_EDGES, confidence, side="left") - 1  # a bin has its upper edge
    bins = [number for number in range(len(_EDGES) - 1) if (place == number).any()]
    said = [confidence[place == number].mean() for number in bins]
    was = np.array([right[place == number].mean() for number in bins])
    counts = np.array([(place == number).sum() for number in bins])
    figure, (axes,) = new_figure(6, 3.2)
    middle = (was + 1 / (2 * counts)) / (1 + 1 / counts)  # Wilson's interval, for one standard error
    half = np.sqrt(was * (1 - was) / counts + 1 / (4 * counts**2)) / (1 + 1 / counts)
    error = np.clip([was - (middle - half), middle + half - was], 0, None)
    axes.errorbar(range(len(bins)), was, error, fmt="o", color=COLOURS[0], label="right (± standard error)")
    axes.plot(range(len(bins)), said, "_", color=COLOURS[1], markersize=16, markeredgewidth=2, label="mean confidence")
    ticks = [
        f"{_EDGES[number]:g}–{_EDGES[number + 1]:g}\n{count:,}" for number, count in zip(bins, counts, strict=True)
    ]
    axes.set_xticks(range(len(bins)), ticks, fontsize=7)
    axes.set(xlabel="confidence of the answer, and number of images", ylabel="share", ylim=(0, 1.05))
    gap = float(np.abs(was - said) @ counts / counts.sum())
    axes.set_title(f"mean distance between confidence and accuracy: {gap:.4f}")
    axes.legend(loc="lower right")
    return figure
