"""Whether we train like Keras on TensorFlow: `python -m benchmarks.curves [--seeds 5] [--data-dir data]`.

The notebook's code, unseeded as it stands, and ours, seed by seed, in turn, each its own process: two fits of 5 epochs,
a test after each.
Prints means, standard deviations, and the two-sided p-value of Welch's t-test that both have the same mean.
Half an hour on 2 cores for 5 seeds. Needs `pip install -e ".[bench]"`.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from benchmarks.keras_notebook import PRINTED
from mnist_cnn.cli import run_command
from mnist_cnn.data import datasets

EPOCHS = 5  # of a fit


def measure(data_dir: Path, seeds: int, fits: int = 2) -> dict[str, list[dict[str, float]]]:
    """Train both with each seed. Returns for either a row per seed: "epoch 1 train/loss", ..., "epoch 5 test/acc"."""
    datasets.fetch("mnist", data_dir)
    rows: dict[str, list[dict[str, float]]] = {"keras": [], "ours": []}
    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "mnist.npz"
        write_arrays(datasets.read("mnist", data_dir), arrays)
        for seed in range(seeds):
            rows["keras"].append(_keras(arrays, fits))
            rows["ours"].append(_ours(data_dir, Path(folder) / str(seed), seed, fits))
            print(
                f"seed {seed}:", {name: round(of[-1]["epoch 5 test/acc"], 4) for name, of in rows.items()}, flush=True
            )
    return rows


def compare(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return for each figure both means and standard deviations, and Welch's p."""
    table = {}
    for figure in rows["ours"][0]:
        keras, ours = (np.array([row[figure] for row in rows[name]]) for name in ("keras", "ours"))
        table[figure] = {
            "keras": keras.mean(),
            "keras sd": keras.std(ddof=1),
            "ours": ours.mean(),
            "ours sd": ours.std(ddof=1),
            "p": float(ttest_ind(keras, ours, equal_var=False).pvalue),
        }
    return table


def main() -> None:
    """Measure, print a table, keep every row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/curves.json"))
    options = parser.parse_args()
    rows = measure(options.data_dir.resolve(), options.seeds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1))
    print(f"{f'n = {options.seeds} each':20} {'Keras/TensorFlow':>20} {'ours':>20} {'p':>7} {'notebook':>9}")
    for figure, row in compare(rows).items():
        printed = f"{PRINTED[figure]:9.4f}" if figure in PRINTED else ""
        print(
            "{:20} {keras:11.5f} ± {keras sd:.5f} {ours:11.5f} ± {ours sd:.5f} {p:7.3f}".format(figure, **row), printed
        )


def write_arrays(dataset: datasets.Dataset, file: Path) -> None:
    """Write what keras.datasets.mnist.load_data() would download, as an .npz."""
    train, test = dataset.train, dataset.test
    np.savez(
        file,
        x_train=train.images[:, 0].numpy(),
        y_train=train.labels.numpy(),
        x_test=test.images[:, 0].numpy(),
        y_test=test.labels.numpy(),
    )


def _keras(arrays: Path, fits: int) -> dict[str, float]:
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    out = _run(["-m", "benchmarks.keras_notebook", str(arrays), f"--fits={fits}"], environment)
    row: dict[str, float] = {}
    for fit, line in enumerate(out.splitlines()):
        values = json.loads(line)
        for number in range(EPOCHS):
            epoch = fit * EPOCHS + number + 1
            row |= {f"epoch {epoch} {name}": values[name][number] for name in ("train/loss", "train/acc")}
        row |= {f"epoch {(fit + 1) * EPOCHS} {name}": values[name] for name in ("test/loss", "test/acc")}
    return row


def _ours(data_dir: Path, run: Path, seed: int, fits: int) -> dict[str, float]:
    row: dict[str, float] = {}
    for fit in range(fits):  # the second goes on where the first ended
        keys = [f"seed={seed}", f"trainer.max_epochs={(fit + 1) * EPOCHS}", f"data.dir={data_dir}"]
        _run(["-m", "mnist_cnn.train", *keys, "data.fallback=error", f"hydra.run.dir={run}", "trainer=cpu"])
        result: dict[str, Any] = json.loads((run / "result.json").read_text())
        row |= {f"epoch {(fit + 1) * EPOCHS} {name}": result[name] for name in ("test/loss", "test/acc")}
    with (run / "metrics.csv").open() as file:
        for epoch, values in enumerate(csv.DictReader(file), start=1):
            row |= {f"epoch {epoch} {name}": float(values[name]) for name in ("train/loss", "train/acc")}
    return dict(sorted(row.items(), key=lambda item: (int(item[0].split()[1]), item[0].split()[2])))


def _run(arguments: list[str], environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    run_command(main)
