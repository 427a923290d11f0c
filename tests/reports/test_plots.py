import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from mnist_cnn.data.datasets import DIGITS, Dataset
from mnist_cnn.model.nets import ConvNet
from mnist_cnn.reports import plots
from mnist_cnn.reports.answers import Answers, Robustness
from mnist_cnn.reports.network import evidence, response_maps

EPOCHS = {"train/loss": [0.5, 0.1], "train/acc": [0.8, 0.97], "val/loss": [0.3, 0.2], "val/acc": [0.9, 0.95]}


@pytest.fixture
def answers(sample: Dataset) -> Answers:
    """Half of 200 images right, with probability 0.75; the other half read as the next digit."""
    labels = sample.test.labels[:200]
    said = (labels + torch.arange(200) % 2) % 10
    probabilities = torch.full((200, 10), 0.25 / 9)
    probabilities[range(200), said] = 0.75
    return Answers(sample.test.images[:200], labels, probabilities, DIGITS)


def drawn(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file)
    return Image.open(file).convert("L")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def lines(figure: Figure, panel: int) -> list[list[float]]:
    return [list(line.get_ydata()) for line in figure.axes[panel].lines]


def test_learning_curves_show_what_was_measured() -> None:
    figure = plots.plot_learning(EPOCHS, {"test/loss": 0.25, "test/acc": 0.94})
    assert lines(figure, 0) == [[0.5, 0.1], [0.3, 0.2], [0.25]]
    assert lines(figure, 1) == [[0.8, 0.97], [0.9, 0.95], [0.94]]
    assert len(figure.axes) == 2


def test_learning_curves_end_with_the_learning_rate() -> None:
    figure = plots.plot_learning({**EPOCHS, "lr": [0.001, 0.0005]}, {})
    assert lines(figure, 2) == [[0.001, 0.0005]]


@pytest.mark.parametrize("least", [0.015, 1e-6])
def test_losses_have_plain_decimals_on_their_axis(least: float) -> None:
    figure = plots.plot_curves({"max": [{"train/loss": [0.3, least], "train/acc": [0.9, 0.99]}]})
    drawn(figure)
    labels = [label.get_text().replace("−", "-") for label in figure.axes[0].get_yticklabels(which="both")]
    assert ("0.02" if least > 0.01 else "1e-06") in labels
    assert all(float(label) > 0 for label in labels if label)


def test_the_confusion_matrix_has_all_counts(answers: Answers) -> None:
    figure = plots.plot_confusion(answers)
    counts = [0 if text == "·" else int(text) for text in texts(figure)]
    assert counts == answers.confusion().flatten().tolist()
    assert figure.axes[0].get_title(loc="left") == "100 mistakes in 200 test images"


def luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_only_mistakes_are_shaded_and_all_counts_are_readable(answers: Answers) -> None:
    axes = plots.plot_confusion(answers).axes[0]
    shown = axes.images[0].to_rgba(axes.images[0].get_array())
    assert (shown[answers.confusion().numpy() == 0, 3] == 0).all()
    assert (np.diagonal(shown[..., 3]) == 0).all()
    for text in axes.texts:
        given, label = map(int, text.get_position())
        paper = shown[label, given] if shown[label, given, 3] else (1, 1, 1)
        assert (luminance(paper) + 0.05) / (luminance(to_rgb(text.get_color())) + 0.05) >= 4.5


def test_mistakes_say_what_was_read(answers: Answers) -> None:
    figure = plots.plot_misclassified(answers)
    first = int(answers.wrong[0])
    assert figure.axes[0].get_title() == f"{answers.labels[first]} read as {answers.predicted[first]}\n0.750"
    assert sum(bool(axes.images) for axes in figure.axes) == 24


def test_calibration_compares_confidence_with_accuracy(answers: Answers) -> None:
    figure = plots.plot_calibration(answers)
    (accuracy, *_, confidence) = lines(figure, 0)
    assert (accuracy, confidence) == (pytest.approx([0.5]), pytest.approx([0.75]))
    assert figure.axes[0].get_title(loc="left") == "expected calibration error (ECE): 0.2500"


def test_all_maps_and_kernels_are_tiles(sample: Dataset) -> None:
    net, image = ConvNet(), sample.test.images[0]
    maps = response_maps(net, image)
    figure = plots.plot_response_maps(image, maps)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert [each.shape for each in shown[1:]] == [(4 * 27 - 1, 8 * 27 - 1), (4 * 12 - 1, 16 * 12 - 1), (31, 63)]
    np.testing.assert_array_equal(shown[1][27:53, 27:53], maps[0].maps[9])  # second row, second column
    kernels = plots.plot_kernels(net.conv1.weight.detach()[:, 0]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(kernels[1:13:4, 14:26:4], net.conv1.weight[1, 0].detach())  # 4 pixels per weight
    edges = kernels.mask if np.ma.isMaskedArray(kernels) else np.isnan(kernels)
    assert edges[0].all()
    assert edges[:, 13].all()


def test_evidence_lies_over_its_digit(sample: Dataset) -> None:
    found = evidence(ConvNet(), sample.test.images[0], 1)
    figure = plots.plot_evidence(sample.test.images[:1], [found], ["answer 1"])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), found)


def test_swept_values_are_in_order_with_mean_and_spread() -> None:
    figures = {"val/acc": {"model=conv": {"1000": [0.9, 0.8], "50": [0.6, 0.4]}}}
    figure = plots.plot_swept("data.train_size", figures)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["50", "1000"]
    assert lines(figure, 0)[0] == pytest.approx([0.5, 0.85])


def test_two_decades_get_a_log_axis_and_all_panels_one_scale() -> None:
    groups = {"": {"0.1": [0.6], "0.001": [0.9], "0.01": [0.8]}}
    figure = plots.plot_swept("optimizer.lr", {"val/acc": groups, "test/acc": {"": {"0.1": [0.2], "0.001": [0.3]}}})
    first, second = figure.axes
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    assert list(first.lines[0].get_xdata()) == pytest.approx([-3, -2, -1])
    assert first.get_ylim() == second.get_ylim()
    assert not plots.spans_decades(["1", "99"])
    assert not plots.spans_decades(["0", "100"])
    assert not plots.spans_decades(["1", "100", "adam"])


def test_trials_are_shown_by_every_hyperparameter() -> None:
    rates = [0.0001, 0.01, 0.001, 0.002, 0.005]
    params = [{"optimizer": "sgd" if rate < 0.001 else "adam", "lr": rate} for rate in rates]
    by_name, by_rate = plots.plot_trials(params, [0.1, 0.2, 0.3, 0.4, 0.5], "val/acc", 2, {"lr"}).axes
    assert [tick.get_text() for tick in by_name.get_xticklabels()] == ["adam", "sgd"]
    assert list(by_name.lines[0].get_xdata()) == [1, 0, 0, 0, 0]
    assert (by_rate.get_xscale(), list(by_rate.lines[0].get_xdata())) == ("log", rates)
    assert list(by_rate.lines[1].get_xydata()[0]) == [0.001, 0.3]


def test_curves_show_the_gap_between_training_and_validation() -> None:
    figure = plots.plot_curves({"max": [EPOCHS, EPOCHS], "none": [EPOCHS]})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["train/loss", "val/loss", "train/acc − val/acc"]
    assert lines(figure, 2)[-1] == pytest.approx([-0.1, 0.02])
    bare = plots.plot_curves({"all runs": [{name: EPOCHS[name] for name in ("train/loss", "train/acc")}]})
    assert len(bare.axes) == 2


def test_robustness_shows_the_mean_over_runs() -> None:
    runs = [[Robustness("shift", [0, 4], [0.9, 0.5])], [Robustness("shift", [0, 4], [0.8, 0.3])]]
    figure = plots.plot_robustness({"conv": runs, "dense": runs[:1]}, 1000)
    assert lines(figure, 0)[:2] == [pytest.approx([0.85, 0.4]), pytest.approx([0.9, 0.5])]


def test_every_figure_is_drawn_and_the_style_stays_inside(answers: Answers) -> None:
    before = dict(mpl.rcParams)
    for figure in (plots.plot_confusion(answers), plots.plot_misclassified(answers), plots.plot_calibration(answers)):
        picture = np.asarray(drawn(figure))
        assert picture.min() < 100 < 250 < picture.max()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("low", "high"), [(0.98, 1.4), (0.46, 0.57), (1.1, 1.9), (0.3, 4.0), (0.001, 2.0)])
def test_a_log_axis_has_at_least_two_labels(low: float, high: float) -> None:
    epochs = {"train/loss": [high, low], "train/acc": [0.5, 0.6]}
    axes = plots.plot_curves({"a": [epochs]}).axes[0]
    bottom, top = axes.get_ylim()
    assert sum(bottom <= tick <= top for tick in axes.get_yticks()) >= 2
