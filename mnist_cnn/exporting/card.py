"""The model card: what a file of weights is, its figures with their n, its limits, how to load and reproduce it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_cnn.cli import command_line
from mnist_cnn.differences import is_decisive
from mnist_cnn.exporting.metadata import hub_metadata, result_of
from mnist_cnn.exporting.request import UNKNOWN, Request
from mnist_cnn.exporting.torch_code import torch_code
from mnist_cnn.help_text import write_value
from mnist_cnn.model.classifier import DigitClassifier
from mnist_cnn.model.summary import count_parameters, layer_table
from mnist_cnn.runs.checkpoint import dataset_of
from mnist_cnn.runs.directory import Run, run_of

_CARD = """\
{metadata}
# {title}

## What

A network of {parameters:,} parameters that names what a picture shows. It maps images (batch, 1, 28, 28),
{range}, to logits (batch, {n}); the largest is the answer.
Its classes, in order:

```json
{classes}
```

```text
{layers}
```

## Data

{data}

## Figures

{figures}

## Limits

- One thing per picture, in the middle, upright, as large as in the training images. Others need to be brought into that
  form: `python -m mnist_cnn.predict` does so.
- It always answers with one of its classes, also for a picture that shows none of them.
- The figures hold for images like the test images. For shifted and turned ones,
  `python -m mnist_cnn.evaluate RUN --shift 0:8 --turn 0:60:15` measures it.

## Load

```python
from collections import OrderedDict

import torch
from safetensors.torch import load_file
from torch import nn

net = {code}
net.load_state_dict(load_file({file!r}))
images = torch.zeros(1, 1, 28, 28)  # yours: floats in 0-1
labels = net.eval()(images).argmax(dim=1)
```
{onnx}
## Reproduce

{reproduce}

## Licence

{licence}
"""

_RANGES = {"ink": "floats from 0 (background) to 1 (ink)", "resize": "floats 0-1, grey"}
_ONNX = "\n`model.onnx` has the same network for ONNX Runtime: input `images`, output `logits`.\n"
_UNLICENSED = "Not chosen yet: set `license` in the first lines of this file before you publish the weights."

_NO_RESULT = "These weights are not the last ones of a complete run: "
_NO_FIGURES = f"{_NO_RESULT}`python -m mnist_cnn.evaluate` measures them."
_NO_COMMAND = f"{_NO_RESULT}no command is known that gives them."


def model_card(
    checkpoint: Path, content: Mapping[str, Any], classifier: DigitClassifier, request: Request, licence: str
) -> str:
    """Return the card of the requested files, with the weights of a checkpoint.

    Figures are those of result.json. Only the last checkpoint of a complete run has them.
    """
    net, dataset, result = classifier.net, dataset_of(content), result_of(checkpoint)
    return _CARD.format(
        metadata=hub_metadata(request.title, licence, dataset, result),
        title=request.title,
        file=request.networks[0].name,
        range=_RANGES[classifier.reading],
        onnx=_ONNX if len(request.networks) > 1 else "",
        licence=_UNLICENSED if licence == UNKNOWN else f"These weights are licensed under `{licence}`.",
        n=len(classifier.classes),
        classes=json.dumps(classifier.classes, ensure_ascii=False),
        parameters=count_parameters(net),
        layers=layer_table(net),
        data=_data(dataset, content.get("config")),
        figures=_figures(result, content.get("config")) if result else _NO_FIGURES,
        code=torch_code(net, classifier.hparams["model"]),
        reproduce=_reproduce(run_of(checkpoint), dataset) if result else _NO_COMMAND,
    )


def _data(dataset: str | None, config: object) -> str:
    """Name the data set and the settings of the training, as far as the checkpoint has them."""
    named = f"Trained on the training images of {dataset}" if dataset else "The checkpoint does not name its data"
    if not isinstance(config, Mapping):
        return f"{named}."
    known = {key: write_value(value) for key, value in config.items() if value is not None and is_decisive(key)}
    rows = "".join(f"\n| `{key}` | `{value}` |" for key, value in known.items())
    return f"{named}, with these settings:\n\n| setting | value |\n|---|---|{rows}"


def _figures(result: Mapping[str, Any], config: object) -> str:
    held_out = config.get("data.val_size") if isinstance(config, Mapping) else None
    counts = {"test": (result.get("test_images"), "test images"), "val": (held_out, "training images held out")}
    rows = "".join(_rows(result, counts))
    versions = ", ".join(f"{name} {version}" for name, version in dict(result.get("versions", {})).items())
    return (
        f"| figure | value | n |\n|---|---|---|\n{rows}\n"
        f"Of one training (n = 1, {result.get('epochs')} epochs, {result.get('steps')} steps): no spread over seeds.\n"
        f"The test images were evaluated once, after training, on {result.get('device')}, with {versions}."
    )


def _rows(result: Mapping[str, Any], counts: Mapping[str, tuple[Any, str]]) -> Iterator[str]:
    for stage, (n, images) in counts.items():
        for name in ("acc", "loss"):
            if isinstance(n, int) and n and f"{stage}/{name}" in result:
                yield f"| {stage}/{name} | {result[f'{stage}/{name}']} | {n:,} {images} |\n"


def _reproduce(run: Run, dataset: str | None) -> str:
    """Return the command of the run, less what only says where files are."""
    overrides = [each for each in run.overrides() if is_decisive(each.partition("=")[0].lstrip("+~"))]
    if dataset == "mnist-sample" and "data.name=sample" not in overrides:  # MNIST could not be reached
        overrides.append("data.name=sample")
    if "data=folder" in overrides:
        overrides.append("data.dir=PICTURES")
    return f"```sh\n{command_line('mnist_cnn.train', *overrides)}\n```"
