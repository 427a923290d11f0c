"""The page of one run: what was trained, how well it does, and what it looks at."""

import os
from collections.abc import Iterator
from pathlib import Path

from mnist_cnn.cli import command_line
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.model.summary import count_parameters, layer_rows
from mnist_cnn.reports import plots
from mnist_cnn.reports.answers import Answers, answer, robustness, spread_subset
from mnist_cnn.reports.network import evidence, first_kernels, response_maps
from mnist_cnn.reports.page import TEMPLATES, Page, Picture
from mnist_cnn.reports.plots.style import shorten_name
from mnist_cnn.runs.directory import Run, checkpoint_file, run_of
from mnist_cnn.runs.trained import Trained, load_trained

_EXAMPLES = 10
_DISTORTED = 1_000  # test images: enough for a picture, and quick


def report_run(run_or_file: str | os.PathLike[str], data_dir: Path | None = None) -> Page:
    """Classify the test images with what a run trained, and return the page about it.

    Raises InputError if the checkpoint or the data cannot be used.
    """
    trained, file = load_trained(run_or_file, data_dir), checkpoint_file(run_or_file)
    run = run_of(file) if file.resolve() == run_of(file).trained else None  # another file may come from anywhere
    net, answers = trained.classifier.net, answer(trained.classifier, trained.test)
    values = {
        "name": run.path.name if run else file.name,
        "dataset": trained.dataset,
        "status": run.status() if run else "",
        "right": int((answers.predicted == answers.labels).sum()),
        "images": len(answers.labels),
        "command": command_line("mnist_cnn.train", *run.overrides()) if run else "",
        "result": run.result() if run else {},
        "classes": answers.by_class(),
        "layers": layer_rows(net),
        "parameters": count_parameters(net),
        "config": _config(run) if run else "",
        "has_maps": bool(response_maps(net, answers.images[0])),
    }
    return Page(TEMPLATES / "run.html", values, list(_pictures(trained, run, answers)))


def _config(run: Run) -> str:
    file = run.path / ".hydra" / "config.yaml"
    return file.read_text("utf-8", errors="replace") if file.is_file() else ""


def _pictures(trained: Trained, run: Run | None, answers: Answers) -> Iterator[Picture]:
    net, examples = trained.classifier.net, _one_of_each(answers)
    epochs = run.curves() if run else {}
    if run and {"train/loss", "train/acc"} <= epochs.keys():
        tested = {name: value for name, value in run.result().items() if name.startswith("test/")}
        figure = plots.plot_learning(epochs, tested)
        caption = "Training: the mean over the epoch, while the weights change (label smoothing included)."
        yield Picture("learning", "Learning curves", caption, figure)
    caption = "Rows: the label. Columns: the answer. Shaded: mistakes."
    yield Picture("confusion", "Confusion matrix", caption, plots.plot_confusion(answers))
    if len(answers.wrong):
        caption = "The label, the answer, and its probability; the most confident first."
        yield Picture("mistakes", "Misclassified images", caption, plots.plot_misclassified(answers))
    caption = "If the network is calibrated, the dots lie on the dashes. Below each: the number of images."
    yield Picture("calibration", "Calibration", caption, plots.plot_calibration(answers))
    if (kernels := first_kernels(net)) is not None:
        caption = "Each is moved over the image. Red: ink there raises the response. Blue: ink there lowers it."
        yield Picture("kernels", "First-layer kernels", caption, plots.plot_kernels(kernels))
        image = answers.images[examples[4 % len(examples)]]
        caption = "After each convolution and its ReLU. Dark: a strong response, compared within its layer."
        yield Picture("maps", "Response maps", caption, plots.plot_response_maps(image, response_maps(net, image)))
    shown = [evidence(net, answers.images[i], int(answers.predicted[i])) for i in examples]
    caption = "Red marks the evidence: erasing 5×5 pixels there lowers the answer's logit. Blue: erasing raises it."
    titles = [f"answer {shorten_name(answers.classes[int(answers.predicted[i])])}" for i in examples]
    yield Picture("evidence", "Evidence", caption, plots.plot_evidence(answers.images[examples], shown, titles))
    test = spread_subset(trained.test, _DISTORTED)
    found = [robustness([trained.classifier], test, kind)[0] for kind in STRENGTHS]
    caption = "Test images shifted, turned, and elastically distorted. Dotted line: random guessing."
    figure = plots.plot_robustness({"run": [found]}, len(test.labels), len(answers.classes))
    yield Picture("robustness", "Robustness", caption, figure)


def _one_of_each(answers: Answers) -> list[int]:
    """Return the first image of each class, of the first ten that have one, by its index."""
    labels = answers.labels.tolist()
    return [labels.index(label) for label in sorted({*labels})[:_EXAMPLES]]
