import torch

from mnist_cnn.data.datasets import DIGITS, Dataset, Images
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.reports.answers import Answers, answer, robustness
from mnist_cnn.runs.checkpoint import load_classifier
from tests.conftest import Trained


def test_answers_are_counted_and_mistakes_are_sorted_by_confidence() -> None:
    labels, said, sure = torch.tensor([3, 3, 5, 7]), [3, 8, 6, 1], [0.9, 0.6, 0.8, 0.7]
    probabilities = torch.stack([torch.eye(10)[digit] * p for digit, p in zip(said, sure, strict=True)])
    answers = Answers(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), labels, probabilities, DIGITS)
    assert answers.wrong.tolist() == [2, 3, 1]
    confusion = answers.confusion()
    assert (confusion[3, 3], confusion[3, 8], confusion[5, 6], confusion[7, 1], confusion.sum()) == (1, 1, 1, 1, 4)


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
