"""Whether images resemble the training images of the class that they are taken for.

Of each class, the mean and the first 16 principal components of the training images' features are kept. An image is
unfamiliar if its features lie farther from its class's mean, outside of these components, than those of 98 in 100
training images that were set aside (SIMCA: Wold 1976, "Pattern recognition by means of disjoint principal components
models"). The features are what the last linear layer reads, averaged to at most 1,152 values and scaled to length 1.
Rates: benchmarks/README.md.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mnist_cnn.data.datasets import Images
from mnist_cnn.data.images import SIDE, as_batch
from mnist_cnn.model.backend import evaluation_mode
from mnist_cnn.model.classifier import DigitClassifier

_MOST_FEATURES = 1152  # as many as the notebook's network has
_COMPONENTS = 16
_FEWEST_FEATURES = 4 * _COMPONENTS  # of fewer, little lies outside of the components
_MOST_IMAGES = 10_000  # of the training images
_SET_ASIDE = 0.1  # of these, for the limit
_SHARE = 0.02  # of the images set aside that may be unfamiliar
_FEWEST_IMAGES = 40  # of a class
_BATCH = 250


class Familiarity(NamedTuple):
    """The means and components of all classes, and the largest distance that is familiar."""

    means: Float[Tensor, "classes features"]
    components: Float[Tensor, "classes components features"]
    limit: float

    def distances(self, features: Float[Tensor, "n features"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the squared distance of each image's features from its class, outside of the class's components."""
        rest = features - self.means[labels]
        within = torch.einsum("nf,nkf->nk", rest, self.components[labels])
        return rest.square().sum(dim=1) - within.square().sum(dim=1)

    def are_unfamiliar(self, classifier: DigitClassifier, images: Tensor) -> Bool[Tensor, " n"]:
        """Say for each image, taken for what the classifier answers, whether it is unfamiliar."""
        return self.distances(*read_features(classifier, images)) > self.limit


def measure_familiarity(classifier: DigitClassifier, train: Images) -> Familiarity | None:
    """Measure how training images of each class differ.

    Returns None where that says little: for a network that does not end with a linear layer of 64 or more inputs, and
    for a class of few images.
    """
    if not count_features(classifier):
        return None
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(0))[:_MOST_IMAGES]
    aside, kept = (train.subset(part) for part in order.tensor_split([int(_SET_ASIDE * len(order))]))
    if kept.labels.bincount(minlength=len(classifier.classes)).min() < _FEWEST_IMAGES:
        return None
    features, _ = read_features(classifier, kept.images)
    of_classes = [features[kept.labels == label] for label in range(len(classifier.classes))]
    means = torch.stack([each.mean(dim=0) for each in of_classes])
    components = torch.stack([_components(each) for each in of_classes])
    found = Familiarity(means.half().float(), components.half().float(), 0.0)  # as they are kept
    limit = found.distances(*read_features(classifier, aside.images)).quantile(1 - _SHARE)
    return found._replace(limit=float(limit))


def _components(features: Float[Tensor, "n features"]) -> Float[Tensor, "components features"]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, vectors = torch.pca_lowrank(features, q=2 * _COMPONENTS, niter=4)
    return vectors[:, :_COMPONENTS].T.contiguous()


def count_features(classifier: DigitClassifier) -> int:
    """Return how many features an image has here; 0 if the network does not end with a linear layer, or with few."""
    calls, logits = _watch_last_layer(classifier, torch.zeros(1, 1, SIDE, SIDE))
    match calls:
        case [((Tensor(ndim=2) as read,), Tensor() as answer)] if torch.equal(answer, logits):
            return min(read.shape[1], _MOST_FEATURES) if read.shape[1] >= _FEWEST_FEATURES else 0
    return 0


def read_features(
    classifier: DigitClassifier, images: Tensor
) -> tuple[Float[Tensor, "n features"], Int64[Tensor, " n"]]:
    """Return what the network's last linear layer reads, averaged and scaled, and the answers, on the CPU."""
    calls, logits = _watch_last_layer(classifier, images)
    features = torch.cat([given[0] for given, _ in calls]).float().cpu()
    if features.shape[1] > _MOST_FEATURES:
        features = F.adaptive_avg_pool1d(features, _MOST_FEATURES)
    return F.normalize(features), logits.argmax(dim=1).cpu()


@torch.no_grad()
def _watch_last_layer(classifier: DigitClassifier, images: Tensor) -> tuple[list[tuple[Any, Any]], Tensor]:
    """Return the arguments and the result of each call of the last linear layer, and the logits."""
    linear = [layer for layer in classifier.net.modules() if isinstance(layer, nn.Linear)]
    calls = list[tuple[Any, Any]]()
    handles = [layer.register_forward_hook(lambda _, *call: calls.append(call)) for layer in linear[-1:]]
    try:
        with evaluation_mode(classifier):
            batches = torch.split(as_batch(images), _BATCH)
            logits = torch.cat([classifier(batch.to(classifier.device)) for batch in batches])
    finally:
        for handle in handles:
            handle.remove()
    return calls, logits
