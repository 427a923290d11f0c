"""Arrays in, matplotlib Figures out: every picture of this project, in one quiet style."""

from mnist_cnn.reports.plots.answers import plot_calibration, plot_confusion, plot_misclassified
from mnist_cnn.reports.plots.curves import (
    plot_curves,
    plot_learning,
    plot_robustness,
    plot_swept,
    plot_trials,
    spans_decades,
)
from mnist_cnn.reports.plots.network import plot_digits, plot_evidence, plot_kernels, plot_response_maps

__all__ = [
    "plot_calibration",
    "plot_confusion",
    "plot_curves",
    "plot_digits",
    "plot_evidence",
    "plot_kernels",
    "plot_learning",
    "plot_misclassified",
    "plot_response_maps",
    "plot_robustness",
    "plot_swept",
    "plot_trials",
    "spans_decades",
]
