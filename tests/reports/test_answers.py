import pytest
import torch

from mnist_cnn.data.datasets import DIGITS, Dataset, Images
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.reports.answers import Answers, answer, robustness, wilson
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Trained


def test_answers_are_counted_and_mistakes_are_sorted_by_confidence() -> None:
    labels, said, sure = torch.tensor([3, 3, 5, 7]), [3, 8, 6, 1], [0.9, 0.6, 0.8, 0.7]
    probabilities = torch.stack([torch.eye(10)[digit] * p for digit, p in zip(said, sure, strict=True)])
    answers = Answers(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), labels, probabilities, DIGITS)
    assert answers.wrong.tolist() == [2, 3, 1]
    confusion = answers.confusion()
    assert (confusion[3, 3], confusion[3, 8], confusion[5, 6], confusion[7, 1], confusion.sum()) == (1, 1, 1, 1, 4)


def test_the_calibration_error_is_the_mean_gap_over_all_answers() -> None:
    labels, said = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    probabilities = torch.full((4, 10), 0.0)
    probabilities[range(4), said] = torch.tensor([0.92, 0.94, 0.91, 0.55])
    answers = Answers(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), labels, probabilities, DIGITS)
    assert [(each.images, each.high) for each in answers.confidence_bins()] == [(1, 0.6), (3, 0.95)]
    expected = (abs(1 - 0.55) + 3 * abs(2 / 3 - (0.92 + 0.94 + 0.91) / 3)) / 4
    assert answers.calibration_error() == pytest.approx(expected)


def test_an_interval_for_a_share_is_wilsons() -> None:
    z, n, p = 1.959964, 10_000, 0.9881
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert wilson(9881, n) == pytest.approx([(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)])


def test_a_classifiers_answers_have_the_accuracy_of_its_test(trained: Trained, sample: Dataset) -> None:
    answers = answer(load_classifier(trained.path), sample.test)
    assert round(1 - len(answers.wrong) / 1000, 4) == trained.result["test/acc"]


def test_accuracy_falls_with_the_strength(trained: Trained, sample: Dataset) -> None:
    classifier, test = load_classifier(trained.path), Images(*(part[:300] for part in sample.test))
    undistorted = 1 - len(answer(classifier, test).wrong) / 300
    for kind in STRENGTHS:
        (found,) = robustness([classifier], test, kind)
        assert found.strengths == STRENGTHS[kind].usual
        assert round(found.accuracy[0], 6) == round(undistorted, 6)
        assert found.accuracy[-1] < found.accuracy[0] - 0.2


def test_classifiers_are_measured_on_the_same_images(trained: Trained, sample: Dataset) -> None:
    classifier, test = load_classifier(trained.path), Images(*(part[:200] for part in sample.test))
    first, second = robustness([classifier, classifier], test, "elastic", [3])
    assert first == second
