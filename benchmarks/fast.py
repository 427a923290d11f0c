"""How long to a mean test accuracy: `python -m benchmarks.fast [--seeds 30] [--keras-fits 4]`.

Of `experiment=fast` with one epoch and with three, a training per seed, from its first line to its result, test and
files included; beside the notebook's code in Keras on TensorFlow, tested after each epoch. They take turns. Keras's
time is its number of epochs times the median epoch, the first of each model left out, which compiles.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory

from mnist_cnn.cli import run_command

GOALS = {1: 0.990, 3: 0.993}  # epochs of experiment=fast, and the mean accuracy they are to reach
KERAS_EPOCHS = 14


def train(seed: int, epochs: int, data_dir: Path, folder: Path) -> tuple[float, float]:
    """Return the test accuracy of a training, and its seconds."""
    from benchmarks.compare.ours import prepare

    overrides = ("experiment=fast", f"seed={seed}", f"trainer.max_epochs={epochs}")
    job = prepare(folder / f"{seed}-{epochs}", data_dir, *overrides)
    begin = time.perf_counter()
    result = job.fit_and_test()
    return result["test/acc"], time.perf_counter() - begin


def report(ours: dict[int, list[tuple[float, float]]], keras: list[dict[str, float]]) -> str:
    """Write a line per goal, and one of Keras's means by epoch."""
    fits = [keras[start : start + KERAS_EPOCHS] for start in range(0, len(keras), KERAS_EPOCHS)]
    by_epoch = [mean(epoch["test/acc"] for epoch in epochs) for epochs in zip(*fits, strict=True)]
    epoch = median(epoch["seconds"] for fit in fits for epoch in fit[1:])
    lines = [f"Keras, {epoch:.1f} s an epoch, n = {len(fits)}: " + "  ".join(f"{value:.4f}" for value in by_epoch)]
    for epochs, results in ours.items():
        accuracies, seconds = zip(*results, strict=True)
        needed = next((number for number, value in enumerate(by_epoch, 1) if value >= GOALS[epochs]), None)
        theirs = f"{needed} epochs" if needed else f"more than {KERAS_EPOCHS} epochs"
        ratio = (needed or KERAS_EPOCHS) * epoch / median(seconds)
        lines.append(
            f"{GOALS[epochs]:.1%} with {epochs} epochs: {mean(accuracies):.4f} ± {stdev(accuracies):.4f} "
            f"({min(accuracies):.4f} - {max(accuracies):.4f}, n = {len(results)}) in {median(seconds):.2f} s "
            f"({min(seconds):.2f} - {max(seconds):.2f}); Keras needs {theirs}: "
            f"{'' if needed else 'over '}{ratio:.1f} times as long"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fast", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--keras-fits", type=int, default=4)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/fast.json"))
    options = parser.parse_args()
    from benchmarks.compare.peer import Peer, Training
    from benchmarks.curves import write_arrays
    from mnist_cnn.data import datasets

    data_dir = options.data_dir.resolve()
    datasets.fetch("mnist", data_dir)
    ours: dict[int, list[tuple[float, float]]] = {epochs: [] for epochs in GOALS}
    keras: list[dict[str, float]] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(datasets.read("mnist", data_dir), folder / "mnist.npz")
        environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        peer = Training(Peer("keras_seeds", [str(folder / "mnist.npz"), str(KERAS_EPOCHS)], environment))
        try:
            assert peer.is_ready(), 'Keras on TensorFlow is needed: pip install -e ".[bench]"'
            turns = options.keras_fits * KERAS_EPOCHS
            for turn in range(turns):
                keras.append(peer.epoch())
                for seed in range(turn * options.seeds // turns, (turn + 1) * options.seeds // turns):
                    for epochs, results in ours.items():
                        results.append(train(seed, epochs, data_dir, folder))
        finally:
            peer.end()
    print(report(ours, keras))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"ours": ours, "keras": keras}, indent=1))


if __name__ == "__main__":
    run_command(main)
