"""The page of one run: what was trained, how well it does, and what it looks at."""

import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from mnist_cnn.cli import command_line
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.model.summary import count_parameters, layer_rows
from mnist_cnn.reports import plots
from mnist_cnn.reports.answers import Answers, answer, robustness, spread_subset, wilson
from mnist_cnn.reports.findings import say_accuracies, say_activity, say_kernels, say_mistakes, say_robustness
from mnist_cnn.reports.mistakes import misread_tiles
from mnist_cnn.reports.network import evidence, first_kernels, response_maps
from mnist_cnn.reports.page import TEMPLATES, Page, Picture
from mnist_cnn.reports.plots.style import shorten_name
from mnist_cnn.runs.directory import Run, checkpoint_file, run_of
from mnist_cnn.runs.trained import Trained, load_trained

_EXAMPLES = 10
_DISTORTED = 500  # test images: a standard error of 2 points at most, and quick


def report_run(run_or_file: str | os.PathLike[str], data_dir: Path | None = None) -> Page:
    """Classify the test images with what a run trained, and return the page about it.

    Raises InputError if the checkpoint or the data cannot be used.
    """
    trained, file = load_trained(run_or_file, data_dir), checkpoint_file(run_or_file)
    run = run_of(file) if file.resolve() == run_of(file).trained else None  # another file may come from anywhere
    net, answers = trained.classifier.net, answer(trained.classifier, trained.test)
    page = run.path / "page.html" if run and Path(run_or_file).is_dir() else file.with_suffix(".page.html")
    values = {
        "name": run.path.name if run else file.name,
        "status": run.status() if run else "",
        "headline": _headline(answers),
        "about": _about(trained, run),
        "command": command_line("mnist_cnn.train", *run.overrides()) if run else "",
        "result": run.result() if run else {},
        "classes": answers.by_class(),
        "layers": layer_rows(net),
        "parameters": count_parameters(net),
        "config": _config(run) if run else "",
        "has_maps": bool(response_maps(net, answers.images[0])),
    }
    return Page(TEMPLATES / "run.html", values, list(_pictures(trained, run, answers, page)))


def _config(run: Run) -> str:
    file = run.path / ".hydra" / "config.yaml"
    return file.read_text("utf-8", errors="replace") if file.is_file() else ""


def _headline(answers: Answers) -> str:
    images = len(answers.labels)
    low, high = wilson(answers.right, images)
    interval = f"95 % CI {100 * low:.1f}–{100 * high:.1f}"
    return f"{100 * answers.right / images:.2f} % of {images:,} test images read correctly ({interval})"


def _about(trained: Trained, run: Run | None) -> list[str]:
    """Return what stands below the headline: the data set, the network's size, validation, and the date."""
    lines = [trained.dataset, f"{count_parameters(trained.classifier.net):,} parameters"]
    if run and isinstance(accuracy := run.result().get("val/acc"), float):
        held_out = run.settings().get("data.val_size")
        images = f" of {held_out:,} images" if isinstance(held_out, int) else ""
        lines.append(f"in validation {100 * accuracy:.2f} %{images}")
    if run and (file := run.path / "result.json").is_file():
        lines.append(f"trained until {datetime.fromtimestamp(file.stat().st_mtime):%Y-%m-%d %H:%M}")
    return lines


def _pictures(trained: Trained, run: Run | None, answers: Answers, page: Path) -> Iterator[Picture]:
    net, examples = trained.classifier.net, _one_of_each(answers)
    epochs = run.curves() if run else {}
    if run and {"train/loss", "train/acc"} <= epochs.keys():
        tested = {name: value for name, value in run.result().items() if name.startswith("test/")}
        caption = "Training: the mean over the epoch, while the weights change (label smoothing included)."
        draw = partial(plots.plot_learning, epochs, tested)
        yield Picture("learning", "Learning curves", caption, draw, say_accuracies(epochs))
    caption = "Rows: the label. Columns: the answer. Shaded: mistakes."
    draw = partial(plots.plot_confusion, answers)
    yield Picture("confusion", "Confusion matrix", caption, draw, say_mistakes(answers))
    if len(answers.wrong):
        caption = "The label, the answer, and its probability; the most confident first."
        caption += " A click opens the image in page.html." if page.is_file() else ""
        draw = partial(plots.plot_misclassified, answers)
        yield Picture("mistakes", "Misclassified images", caption, draw, tiles=misread_tiles(answers, page))
    caption = "If the network is calibrated, the dots lie on the dashes. Below each: the number of images."
    said = f"Expected calibration error {answers.calibration_error():.4f}"
    yield Picture("calibration", "Calibration", caption, partial(plots.plot_calibration, answers), said)
    if (kernels := first_kernels(net)) is not None:
        caption = "Each is moved over the image. Red: ink there raises the response. Blue: ink there lowers it."
        draw = partial(plots.plot_kernels, kernels)
        yield Picture("kernels", "First-layer kernels", caption, draw, say_kernels(kernels))
        chosen = examples[4 % len(examples)]
        image, maps = answers.images[chosen], response_maps(net, answers.images[chosen])
        caption = "After each convolution and its ReLU. The more ink, the stronger the response, within its layer."
        draw = partial(plots.plot_response_maps, image, maps)
        said = say_activity(answers.classes[int(answers.labels[chosen])], maps)
        yield Picture("maps", "Response maps", caption, draw, said)
    shown = [evidence(net, answers.images[i], int(answers.predicted[i])) for i in examples]
    caption = "Red marks the evidence: erasing 5×5 pixels there lowers the answer's logit. Blue: erasing raises it."
    titles = [f"answer {shorten_name(answers.classes[int(answers.predicted[i])])}" for i in examples]
    draw = partial(plots.plot_evidence, answers.images[examples], shown, titles)
    yield Picture("evidence", "Evidence", caption, draw)
    test = spread_subset(trained.test, _DISTORTED)
    found = [robustness([trained.classifier], test, kind)[0] for kind in STRENGTHS]
    caption = "Test images shifted, turned, and elastically distorted. Dotted line: random guessing."
    draw = partial(plots.plot_robustness, {"run": [found]}, len(test.labels), len(answers.classes))
    yield Picture("robustness", "Robustness", caption, draw, say_robustness(found))


def _one_of_each(answers: Answers) -> list[int]:
    """Return the first image of each class, of the first ten that have one, by its index."""
    labels = answers.labels.tolist()
    return [labels.index(label) for label in sorted({*labels})[:_EXAMPLES]]
