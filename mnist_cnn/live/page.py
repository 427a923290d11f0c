"""The page to draw on: one file that holds one or two networks, twenty test images, and the program that computes."""

import base64
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mnist_cnn.data.datasets import DIGITS, Images
from mnist_cnn.errors import InputError
from mnist_cnn.live.weights import PackedNet, encode, pack_net, round_to_float16
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.familiarity import Familiarity, measure_familiarity
from mnist_cnn.model.nets import fold, layers_of
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.reports.answers import Answers, answer
from mnist_cnn.reports.page import Page
from mnist_cnn.runs.checkpoint import dataset_of, load_classifier, read_checkpoint
from mnist_cnn.runs.directory import checkpoint_file, run_of
from mnist_cnn.runs.trained import load_trained

RunOrFile = str | os.PathLike[str]

_EACH = 10  # images that are read, and that are misread
TEMPLATE = Path(__file__).parent / "templates" / "live.html"


class Shown(NamedTuple):
    """A network as the page has it: its weights are rounded. `changed`: how many of the answers that changes."""

    name: str
    dataset: str
    classifier: DigitClassifier
    parameters: int
    packed: PackedNet
    answers: Answers
    changed: int


def live_page(run_or_file: RunOrFile, other: RunOrFile | None = None, data_dir: Path | None = None) -> Page:
    """Return the page about a run or a checkpoint file; with `other`, that one answers, too.

    Raises InputError if a checkpoint or the data cannot be used, and for two networks of different classes.
    """
    trained = load_trained(run_or_file, data_dir)
    shown = [_show(run_or_file, trained.classifier, trained.test)]
    if other is not None:
        second = load_classifier(other)
        if second.classes != trained.classifier.classes:
            raise InputError(
                f"{other} has other classes than {run_or_file}: the page compares only networks of the same classes"
            )
        shown.append(_show(other, second, trained.test))
    familiarity = measure_familiarity(shown[0].classifier, trained.data.train)
    return _page(shown, trained.test, familiarity)


def _show(run_or_file: RunOrFile, classifier: DigitClassifier, test: Images) -> Shown:
    exact, parameters = answer(classifier, test), count_parameters(classifier.net)
    classifier.net = net = fold(layers_of(classifier.net))
    dtype = "float16" if round_to_float16(net) else "float32"
    answers = answer(classifier, test)
    file = checkpoint_file(run_or_file)
    name = run_of(file).path.name if Path(run_or_file).is_dir() else file.name
    changed = int((answers.predicted != exact.predicted).sum())
    dataset = dataset_of(read_checkpoint(file)) or "mnist"
    return Shown(name, dataset, classifier, parameters, pack_net(net, dtype), answers, changed)


def _page(shown: list[Shown], test: Images, familiarity: Familiarity | None) -> Page:
    classifier, answers = shown[0].classifier, shown[0].answers
    chosen = _choose(answers)
    kinds = {layer["kind"] for layer in shown[0].packed.layers}
    unfamiliar = familiarity.are_unfamiliar(classifier, test.images) if familiarity else torch.zeros(1)
    values = {
        "name": " and ".join(each.name for each in shown),
        "networks": [each._asdict() | {"dtype": each.packed.dtype} for each in shown],
        "images": len(answers.labels),
        "misread": bool(len(answers.wrong)),
        "false_alarms": float(unfamiliar.float().mean()) if familiarity else None,
        "title": "Draw a digit from 0 to 9" if answers.classes == DIGITS else "Draw one of the classes",
        "centred": classifier.reading == "ink",
        "has_maps": "conv" in kinds,
        "pools_maximum": "max" in kinds,
        "data": {
            "networks": [{"name": each.name, **each.packed._asdict()} for each in shown],
            "classes": [*answers.classes],
            "samples": [{"label": int(answers.labels[i]), "answered": int(answers.predicted[i])} for i in chosen],
            "images": base64.b64encode(answers.images[chosen].numpy().tobytes()).decode(),
            "familiarity": pack_familiarity(familiarity) if familiarity else None,
        },
    }
    return Page(TEMPLATE, values, [])


def pack_familiarity(familiarity: Familiarity) -> dict[str, Any]:
    """Write the means, then the components, of all classes, as the page reads them."""
    means, components, limit = familiarity
    _, components_each, features = components.shape
    numbers = torch.cat([means.flatten(), components.flatten()])
    return {"limit": limit, "features": features, "components": components_each, "numbers": encode(numbers, "float16")}


def _choose(answers: Answers) -> list[int]:
    """Return twenty indices: the first correct image of ten classes, up to ten misread ones, and more correct ones."""
    right = (answers.predicted == answers.labels).nonzero()[:, 0]
    of_each = [right[answers.labels[right] == label][:1] for label in range(min(_EACH, len(answers.classes)))]
    first = torch.cat([*of_each, answers.wrong[:_EACH]]).tolist()
    return [*first, *(i for i in right.tolist() if i not in first)][: 2 * _EACH]
