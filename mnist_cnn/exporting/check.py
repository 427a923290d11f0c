"""Compare an exported network with the classifier that it was made of, on 1,000 real images."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from mnist_cnn.data.datasets import FAMILY, read, sample
from mnist_cnn.data.images import scale
from mnist_cnn.errors import InputError, RunError
from mnist_cnn.exporting.formats import Runner
from mnist_cnn.model.classifier import DigitClassifier

_BATCHES = (1, 7, 92, *[100] * 9)  # several sizes, because the batch is dynamic

# Of the largest logit. Libraries add float32 numbers in different orders, which moves logits by up to 2.5e-6 of the
# largest (4 networks against float64, 1,000 images). Weights in float16 move them by 4e-5 or more (20 networks).
_TOLERANCE = 2e-5


class CheckImages(NamedTuple):
    """1,000 test images, and the name of their data set."""

    dataset: str
    images: UInt8[Tensor, "1000 1 28 28"]


class Comparison(NamedTuple):
    """How far the logits of an exported network lie from torch's."""

    images: int
    same_digits: int
    largest_difference: float
    largest_logit: float

    @property
    def tolerance(self) -> float:
        """The largest difference that rounding explains, with room to spare."""
        return _TOLERANCE * self.largest_logit


def check_images(dataset: str | None, data_dir: Path) -> CheckImages:
    """Return the first 1,000 test images of a data set if `data_dir` has it, else those of the embedded sample."""
    if dataset in FAMILY:
        with suppress(InputError):  # not all of its files are there
            return CheckImages(dataset, read(dataset, data_dir).test.images[: sum(_BATCHES)])
    embedded = sample()
    return CheckImages(embedded.name, embedded.test.images)


@torch.no_grad()
def compare(
    run: Runner, classifier: DigitClassifier, images: UInt8[Tensor, "n 1 28 28"], dtype: torch.dtype
) -> Comparison:
    """Compare the logits on 1,000 images, given as uint8 or scaled to floats."""
    parts = torch.split(images, list(_BATCHES))
    expected = torch.cat([classifier(part) for part in parts])
    logits = torch.cat([run(part if dtype == torch.uint8 else scale(part)) for part in parts])
    return Comparison(
        len(images),
        int((logits.argmax(dim=1) == expected.argmax(dim=1)).sum()),
        float((logits - expected).abs().max()),
        float(expected.abs().max()),
    )


def require_equal(found: Comparison) -> None:
    """Raise RunError unless all digits are the same and the logits differ by rounding only."""
    if found.same_digits == found.images and found.largest_difference <= found.tolerance:  # NaN is not
        return
    raise RunError(
        f"the exported network does not compute what torch computes: {found.same_digits:,} of {found.images:,} digits "
        f"are the same, logits differ by up to {found.largest_difference:.1e} (allowed: {found.tolerance:.1e})"
    )
