import torch
from torch import Tensor

from mnist_cnn import DigitClassifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.model.nets import ConvNet, DenseNet
from mnist_cnn.model.teacher import Teacher


def test_a_teacher_answers_with_the_mean_of_softened_probabilities(sample: Dataset) -> None:
    nets, images = [ConvNet(channels=[4, 8]), DenseNet(16)], sample.test.images[:20]
    expected = torch.stack([(net(images / 255) / 3).softmax(dim=1) for net in nets]).mean(dim=0)
    torch.testing.assert_close(Teacher(nets, temperature=3).probabilities(images), expected)


def gradient(teacher: Teacher, images: Tensor, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    teacher.loss(images, logits).backward()
    assert logits.grad is not None
    return logits.grad


def test_nothing_is_left_to_learn_from_a_teacher_whose_logits_are_known(sample: Dataset) -> None:
    net, images = ConvNet(channels=[4, 8]), sample.test.images[:20]
    with torch.no_grad():
        logits = net(images / 255)
    teacher = Teacher([net], temperature=4)
    assert gradient(teacher, images, logits).abs().max() < 1e-6
    assert gradient(teacher, images, logits.flip(1)).abs().max() > 1e-3


def test_at_high_temperature_gradients_are_those_of_matching_logits(sample: Dataset) -> None:
    """At a high temperature distilling matches logits: the gradient is difference / 10 n (Hinton et al. 2015)."""
    net, images = ConvNet(channels=[4, 8]), sample.test.images[:20]
    with torch.no_grad():
        wanted = net(images / 255)
    logits = torch.randn(20, 10)
    difference = (logits - logits.mean(dim=1, keepdim=True)) - (wanted - wanted.mean(dim=1, keepdim=True))
    torch.testing.assert_close(
        gradient(Teacher([net], temperature=100), images, logits), difference / 10 / 20, atol=2e-4, rtol=0.05
    )


def test_the_teacher_replaces_the_labels_only_in_training(sample: Dataset) -> None:
    teacher = Teacher([ConvNet(channels=[4, 8])], temperature=2)
    student, batch = DigitClassifier(teacher=teacher), (sample.test.images[:50], sample.test.labels[:50])
    torch.testing.assert_close(student.training_step(batch, 0), teacher.loss(batch[0], student(batch[0])))
    student.test_step(batch, 0)
    plain = torch.nn.functional.cross_entropy(student(batch[0]), batch[1])
    torch.testing.assert_close(student.compute_metrics("test")["test/loss"], plain)
    assert len(list(student.parameters())) == 8  # the teacher's are not its own
