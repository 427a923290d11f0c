"""Which test images the runs of a sweep misread: `python -m benchmarks.mistakes SWEEP [--png FILE]`.

Prints the accuracies, mean and spread, that of the mean of all runs' probabilities, and how many of the mistakes are
label errors; draws what more than half of the runs misread, for light and for dark pages.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from mnist_cnn.cli import run_command
from mnist_cnn.errors import InputError

# Of MNIST's test images, those whose label fewer than three of five people confirmed (Northcutt, Athalye and Mueller
# 2021, "Pervasive label errors in test sets destabilize machine learning benchmarks")
LABEL_ERRORS = {947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729}


def main() -> None:
    """Classify the test images with every run, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mistakes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="a folder with runs")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--png", type=Path, default=Path("mistakes.png"))
    options = parser.parse_args()
    import torch

    from benchmarks.charts import save
    from mnist_cnn.data import datasets
    from mnist_cnn.reports.plots.network import plot_digits
    from mnist_cnn.runs.checkpoint import load_classifier
    from mnist_cnn.runs.table import find_runs

    runs = [run for run in find_runs(options.sweep) if run.status() == "complete"]
    if not runs:
        raise InputError(f"{options.sweep} holds no complete run")
    test = datasets.read("mnist", options.data_dir).test
    probabilities = torch.stack([load_classifier(run.path).predict(test.images).probabilities for run in runs])
    wrong = probabilities.argmax(dim=2) != test.labels
    accuracies = [1 - each for each in wrong.double().mean(dim=1).tolist()]
    spread = f" ± {stdev(accuracies):.5f}" if len(runs) > 1 else ""
    print(f"{mean(accuracies):.5f}{spread} ({min(accuracies):.4f} - {max(accuracies):.4f}, n = {len(runs)})")
    together = probabilities.mean(dim=0).argmax(dim=1) == test.labels
    print(f"all {len(runs)} together: {float(together.double().mean()):.4f}")

    times = wrong.sum(dim=0)
    often = [index for index in times.argsort(descending=True, stable=True).tolist() if 2 * times[index] > len(runs)]
    mistaken = sum(index in LABEL_ERRORS for index in often)
    print(f"misread by more than half of the runs: {len(often)} images, {mistaken} of them label errors")
    print(f"of all {int(wrong.sum())} mistakes, {int(wrong[:, sorted(LABEL_ERRORS)].sum())} are label errors")
    if not often:
        return
    answers = probabilities.argmax(dim=2)
    titles = [
        f"{index}: {test.labels[index]} read as {answers[wrong[:, index], index].mode().values}\n"
        f"{times[index]}/{len(runs)}{', label error' if index in LABEL_ERRORS else ''}"
        for index in often
    ]
    save(plot_digits(test.images[often], titles, columns=6), options.png)
    print(f"drawn: {options.png}")


if __name__ == "__main__":
    run_command(main)
