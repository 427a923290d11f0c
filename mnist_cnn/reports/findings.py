"""What a picture shows, in one sentence: its alternative text."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.reports.answers import Answers, Robustness
from mnist_cnn.reports.network import ResponseMaps


def say_accuracies(epochs: Mapping[str, Sequence[float]]) -> str:
    """Say the accuracies after the last epoch."""
    ends = ", ".join(f"{name} {values[-1]:.4f}" for name, values in epochs.items() if name.endswith("/acc"))
    n = len(epochs["train/acc"])
    return f"After {n} epoch{'s' if n > 1 else ''}: {ends}"


def say_mistakes(answers: Answers) -> str:
    """Say how many mistakes there are, and which is the most frequent."""
    said = f"{len(answers.wrong):,} mistakes in {len(answers.labels):,} test images"
    if not len(answers.wrong):
        return said
    mistakes = answers.confusion().fill_diagonal_(0)
    label, given = divmod(int(mistakes.argmax()), len(answers.classes))
    often = f"{times:,} times" if (times := int(mistakes.max())) > 1 else "once"
    return f"{said}; most often {answers.classes[label]} read as {answers.classes[given]}: {often}"


def say_kernels(kernels: Float[Tensor, "filters height width"]) -> str:
    """Say how many kernels there are, and the range of their weights."""
    return f"{len(kernels)} kernels with weights from {float(kernels.min()):.2f} to {float(kernels.max()):.2f}"


def say_activity(name: str, blocks: Sequence[ResponseMaps]) -> str:
    """Say which share of the pixels of each layer's maps responds to an image of that class."""
    shares = ", ".join(f"{layer} {float((maps > 0).float().mean()):.0%}" for layer, maps in blocks)
    return f"An image of {name}. Share of pixels that respond: {shares}"


def say_robustness(found: Sequence[Robustness]) -> str:
    """Say the accuracy on undistorted images, and at the strongest distortion of each kind."""
    strongest = ", ".join(
        f"{each.kind} {each.strengths[-1]} {STRENGTHS[each.kind].unit} {each.accuracy[-1]:.0%}" for each in found
    )
    return f"Accuracy: undistorted {found[0].accuracy[0]:.0%}, {strongest}"
