"""Whether images resemble the training images of the class that they are taken for.

Of each class, the mean and the first 16 principal components of the training images' features are kept. An image is
unfamiliar if its features lie farther from its class's mean, outside of these components, than those of 98 in 100
training images that were set aside (SIMCA: Wold 1976, "Pattern recognition by means of disjoint principal components
models"). The features are what the last linear layer reads, averaged to at most 1,152 values and scaled to length 1.
Rates: benchmarks/README.md.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mnist_cnn.data.datasets import Images
from mnist_cnn.data.images import as_batch
from mnist_cnn.model.backend import evaluation_mode
from mnist_cnn.model.classifier import DigitClassifier

MOST_FEATURES = 1152  # as many as the notebook's network has
_COMPONENTS = 16
_MOST_IMAGES = 10_000  # of the training images
_SET_ASIDE = 10  # every tenth image is for the limit
_SHARE = 0.02  # of the images set aside that may be unfamiliar
_FEWEST = 50  # images of a class
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
    """Measure how training images of each class differ; None without a linear layer, or for a class of few images."""
    train = train.subset(torch.linspace(0, len(train.labels) - 1, min(_MOST_IMAGES, len(train.labels))).long())
    if last_linear(classifier.net) is None or train.labels.bincount(minlength=len(classifier.classes)).min() < _FEWEST:
        return None
    features, answers = read_features(classifier, train.images)
    aside = torch.arange(len(train.labels)) % _SET_ASIDE == 0
    kept, labels = features[~aside], train.labels[~aside]
    of_classes = [kept[labels == label] for label in range(len(classifier.classes))]
    components = torch.stack([_components(each) for each in of_classes])
    found = Familiarity(torch.stack([each.mean(dim=0) for each in of_classes]), components, 0.0)
    limit = found.distances(features[aside], answers[aside]).quantile(1 - _SHARE)
    return found._replace(limit=float(limit))


def _components(features: Float[Tensor, "n features"]) -> Float[Tensor, "components features"]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, vectors = torch.pca_lowrank(features, q=min(2 * _COMPONENTS, *features.shape), niter=4)
    return vectors[:, :_COMPONENTS].T.contiguous()


@torch.no_grad()
def read_features(
    classifier: DigitClassifier, images: Tensor
) -> tuple[Float[Tensor, "n features"], Int64[Tensor, " n"]]:
    """Return what the network's last linear layer reads, averaged and scaled, and the answers, on the CPU."""
    layer, read, answers = last_linear(classifier.net), list[Tensor](), list[Tensor]()
    assert layer is not None
    handle = layer.register_forward_pre_hook(lambda _, given: read.append(given[0].float().cpu()))
    try:
        with evaluation_mode(classifier):
            for part in torch.split(as_batch(images), _BATCH):
                answers.append(classifier(part.to(classifier.device)).argmax(dim=1).cpu())
    finally:
        handle.remove()
    features = torch.cat(read)
    if features.shape[1] > MOST_FEATURES:
        features = F.adaptive_avg_pool1d(features, MOST_FEATURES)
    return F.normalize(features), torch.cat(answers)


def last_linear(net: nn.Module) -> nn.Linear | None:
    """Return a network's last linear layer, if it has one."""
    return next((layer for layer in reversed([*net.modules()]) if isinstance(layer, nn.Linear)), None)
