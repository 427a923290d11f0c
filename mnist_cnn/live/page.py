"""The page to draw on: one file that holds a network, twenty test images, and the program that computes."""

import base64
import os
from pathlib import Path

import torch

from mnist_cnn.data.datasets import DIGITS
from mnist_cnn.live.weights import pack_net, round_to_float16
from mnist_cnn.model.nets import fold, layers_of
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.reports.answers import Answers, answer
from mnist_cnn.reports.page import Page
from mnist_cnn.runs.directory import checkpoint_file, run_of
from mnist_cnn.runs.trained import load_trained

_EACH = 10  # images that are read, and that are misread
TEMPLATE = Path(__file__).parent / "templates" / "live.html"


def live_page(run_or_file: str | os.PathLike[str], data_dir: Path | None = None) -> Page:
    """Return the page about a run or a checkpoint file.

    Raises InputError if the checkpoint or the data cannot be used.
    """
    trained, file = load_trained(run_or_file, data_dir), checkpoint_file(run_or_file)
    classifier = trained.classifier
    exact, parameters = answer(classifier, trained.test), count_parameters(classifier.net)
    classifier.net = net = fold(layers_of(classifier.net))
    dtype = "float16" if round_to_float16(net) else "float32"
    answers, packed = answer(classifier, trained.test), pack_net(net, dtype)
    chosen = _choose(answers)
    kinds = {layer["kind"] for layer in packed.layers}
    values = {
        "name": run_of(file).path.name if Path(run_or_file).is_dir() else file.name,
        "dataset": trained.dataset,
        "parameters": parameters,
        "dtype": dtype,
        "changed": int((answers.predicted != exact.predicted).sum()),
        "images": len(answers.labels),
        "title": "Draw a digit from 0 to 9" if answers.classes == DIGITS else "Draw one of the classes",
        "centred": classifier.reading == "ink",
        "has_maps": "conv" in kinds,
        "pools_maximum": "max" in kinds,
        "data": {
            **packed._asdict(),
            "classes": [*answers.classes],
            "samples": [{"label": int(answers.labels[i]), "answered": int(answers.predicted[i])} for i in chosen],
            "images": base64.b64encode(answers.images[chosen].numpy().tobytes()).decode(),
        },
    }
    return Page(TEMPLATE, values, [])


def _choose(answers: Answers) -> list[int]:
    """Return twenty indices: the first correct image of ten classes, up to ten misread ones, and more correct ones."""
    right = (answers.predicted == answers.labels).nonzero()[:, 0]
    of_each = [right[answers.labels[right] == label][:1] for label in range(min(_EACH, len(answers.classes)))]
    first = torch.cat([*of_each, answers.wrong[:_EACH]]).tolist()
    return [*first, *(i for i in right.tolist() if i not in first)][: 2 * _EACH]
