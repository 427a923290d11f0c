import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
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


def test_mistakes_say_what_was_read(answers: Answers) -> None:
    figure = plots.plot_misclassified(answers)
    first = int(answers.wrong[0])
    assert figure.axes[0].get_title() == f"{answers.labels[first]} read as {answers.predicted[first]}\n0.750"
    assert sum(bool(axes.images) for axes in figure.axes) == 24


def test_calibration_compares_confidence_with_accuracy(answers: Answers) -> None:
    figure = plots.plot_calibration(answers)
    (accuracy, *_, confidence) = lines(figure, 0)
    assert (accuracy, confidence) == (pytest.approx([0.5]), pytest.approx([0.75]))
    assert figure.axes[0].get_title(loc="left").endswith("0.2500")


def test_all_maps_and_kernels_are_tiles(sample: Dataset) -> None:
    net, image = ConvNet(), sample.test.images[0]
    maps = response_maps(net, image)
    figure = plots.plot_response_maps(image, maps)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert [each.shape for each in shown[1:]] == [(8 * 27 - 1, 4 * 27 - 1), (8 * 12 - 1, 8 * 12 - 1), (31, 63)]
    np.testing.assert_array_equal(shown[1][27:53, 27:53], maps[0].maps[5])  # second row, second column
    kernels = plots.plot_kernels(net.conv1.weight.detach()[:, 0]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(kernels[:3, 4:7], net.conv1.weight[1, 0].detach())


def test_evidence_lies_over_its_digit(sample: Dataset) -> None:
    found = evidence(ConvNet(), sample.test.images[0], 1)
    figure = plots.plot_evidence(sample.test.images[:1], [found], ["answer 1"])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), found)


def test_swept_values_are_in_order_with_mean_and_spread() -> None:
    figures = {"val/acc": {"model=conv": {"1000": [0.9, 0.8], "50": [0.6, 0.4]}}}
    figure = plots.plot_swept("data.train_size", figures)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["50", "1000"]
    assert lines(figure, 0)[0] == pytest.approx([0.5, 0.85])


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
