"""Is there a better network within 105,000 weights? `python -m benchmarks.nets [--seeds 10] [--jobs 2] [--recipes …]`.

Each network with each recipe, all images, tested once; a training per seed. They take turns: one of each per seed.
The same command resumes, as long as the commit is the same.
The recipes were chosen for the notebook's network, which favours it.
"""

import argparse
import json
from collections import OrderedDict
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from benchmarks.trainings import at_least, commit_but_for_logs, train, train_all
from mnist_cnn.cli import run_command
from mnist_cnn.errors import InputError
from mnist_cnn.files import write_atomically
from mnist_cnn.model.nets import CLASSES, Layers, initialise_like_keras

NETS = {
    "the notebook's": (),
    "… with batch norm": ("model.norm=batch",),
    "Keras's example": ("model.channels=[32,64]", "model.final_pooling=true", "model.dropout=0.5"),
    "one layer more": ("model.channels=[32,64,64,64]", "model.padding=same"),
    "tinygrad's": ("model=own", "model.name=benchmarks.nets.BeautifulMNIST"),
}
RECIPES = {
    "notebook": (),
    "fast": ("experiment=fast",),
    "3 epochs": ("experiment=fast", "trainer.max_epochs=3"),
    "accurate": ("experiment=accurate",),
}


class BeautifulMNIST(Layers):
    """The network of tinygrad's examples/beautiful_mnist.py: four convolutions, two of 5x5, and batch normalization.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, classes).
    """

    def __init__(self, classes: int = CLASSES) -> None:
        layers = OrderedDict[str, nn.Module]()
        layers["conv1"], layers["relu1"] = nn.Conv2d(1, 32, 5), nn.ReLU()
        layers["conv2"], layers["relu2"] = nn.Conv2d(32, 32, 5), nn.ReLU()
        layers["norm2"], layers["pool2"] = nn.BatchNorm2d(32), nn.MaxPool2d(2)
        layers["conv3"], layers["relu3"] = nn.Conv2d(32, 64, 3), nn.ReLU()
        layers["conv4"], layers["relu4"] = nn.Conv2d(64, 64, 3), nn.ReLU()
        layers["norm4"], layers["pool4"] = nn.BatchNorm2d(64), nn.MaxPool2d(2)
        layers["flatten"], layers["dense"] = nn.Flatten(), nn.Linear(576, classes)
        super().__init__(layers)
        initialise_like_keras(self)


def main() -> None:
    """Train, print a table, keep every result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=at_least(2), default=10)
    parser.add_argument("--jobs", type=at_least(1), default=2, help="trainings at a time, a core each")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["notebook", "fast", "3 epochs"])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/nets.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    commit = commit_but_for_logs()
    if any(result["commit"] != commit for result in results.values()):
        raise InputError(f"{options.out} has results of another commit than {commit}: give another --out")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, recipe, net) for seed in range(options.seeds) for recipe in options.recipes for net in NETS]
    todo = [job for job in jobs if name_of(*job) not in results]

    def train_one(job: tuple[int, str, str]) -> dict[str, Any]:
        seed, recipe, net = job
        shared = (f"data.dir={options.data_dir.resolve()}", "threads=1")
        return train(seed, (*RECIPES[recipe], *NETS[net], *shared), Path(folder) / str(job))

    def keep(job: tuple[int, str, str], result: dict[str, Any]) -> None:
        kept = {key: result[key] for key in ("test/acc", "parameters", "seconds")}
        results[name_of(*job)] = {**kept, "commit": commit}
        write_atomically(options.out, json.dumps(results, indent=1).encode())

    with TemporaryDirectory() as folder:
        train_all(todo, train_one, keep, options.jobs)
    print(table(results, options.recipes))


def name_of(seed: int, recipe: str, net: str) -> str:
    """Return the name of a result."""
    return f"{recipe}, {net}, {seed}"


def table(results: dict[str, dict[str, Any]], recipes: list[str]) -> str:
    """Write a row per network: its weights, and for each recipe accuracy and seconds of a training on one core."""
    rows = [f"| network | weights | {' | '.join(recipes)} |", "|---" * (len(recipes) + 2) + "|"]
    for net in NETS:
        cells = []
        for recipe in recipes:
            runs = [result for name, result in results.items() if name.startswith(f"{recipe}, {net}, ")]
            accuracies = [run["test/acc"] for run in runs]
            seconds = median(run["seconds"] for run in runs)
            cells.append(f"{mean(accuracies):.5f} ± {stdev(accuracies):.5f} (n = {len(runs)}), {seconds:.0f} s")
        rows.append(f"| {net} | {runs[0]['parameters']:,} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    run_command(main)
