"""How long to a mean test accuracy: `python -m benchmarks.fast [--seeds 10] [--keras-fits 5]`.

Of `experiment=fast` with one epoch (of all images, and of fewer) and with three: a training per seed, from its first
line to its result, test and files included; beside the notebook's code in Keras on TensorFlow, tested after each epoch.
They take turns: ours train between Keras's epochs. Keras's time is its number of epochs times the median epoch, the
first of each fit left out, which compiles; ratios are also computed fit by fit, with the trainings between its epochs.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory

from benchmarks.trainings import at_least
from mnist_cnn.cli import run_command
from mnist_cnn.files import write_atomically

RECIPES = {
    "18,000 images": ("experiment=fast", "data.train_size=18000"),
    "42,000 images": ("experiment=fast", "data.train_size=42000"),
    "1 epoch": ("experiment=fast",),
    "3 epochs": ("experiment=fast", "trainer.max_epochs=3"),
}
GOALS = (0.990, 0.993, 0.994, 0.995, 0.9955)
KERAS_EPOCHS = 15


def train(seed: int, overrides: Sequence[str], data_dir: Path, folder: Path) -> tuple[float, float]:
    """Return the test accuracy of a training, and its seconds."""
    from benchmarks.compare.ours import prepare

    begin = time.perf_counter()
    job = prepare(folder, data_dir, *overrides, f"seed={seed}")
    result = job.fit_and_test()
    return result["test/acc"], time.perf_counter() - begin


def report(ours: Mapping[str, Sequence[tuple[float, float]]], keras: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """Write a line for Keras, one per recipe, and for each goal the fastest recipe and Keras's time."""
    by_epoch = [mean(epoch["test/acc"] for epoch in epochs) for epochs in zip(*keras, strict=True)]
    epoch = median(epoch["seconds"] for fit in keras for epoch in fit[1:])
    lines = [f"Keras, {epoch:.1f} s an epoch, n = {len(keras)}: " + "  ".join(f"{value:.4f}" for value in by_epoch)]
    reached = {}
    for name, results in ours.items():
        accuracies, seconds = zip(*results, strict=True)
        reached[name] = mean(accuracies), median(seconds)
        lines.append(
            f"{name}: {mean(accuracies):.4f} ± {stdev(accuracies):.4f} ({min(accuracies):.4f} - {max(accuracies):.4f}, "
            f"n = {len(results)}) in {median(seconds):.1f} s ({min(seconds):.1f} - {max(seconds):.1f})"
        )
    for goal in GOALS:
        needed = next((number for number, value in enumerate(by_epoch, 1) if value >= goal), None)
        epochs, more = needed or len(by_epoch), "" if needed else "over "
        theirs = f"Keras {more}{epochs} epochs, {epochs * epoch:.0f} s"
        fast = [(seconds, name) for name, (accuracy, seconds) in reached.items() if accuracy >= goal]
        if not fast:
            lines.append(f"{goal:.2%}: not reached; {theirs}")
            continue
        seconds, name = min(fast)
        ratios = [epochs * ratio for ratio in fit_by_fit(ours[name], keras)]
        lines.append(
            f"{goal:.2%}: {name}, {seconds:.1f} s; {theirs}, {more}{epochs * epoch / seconds:.1f} times as long "
            f"({min(ratios):.1f} - {max(ratios):.1f})"
        )
    return "\n".join(lines)


def fit_by_fit(ours: Sequence[tuple[float, float]], keras: Sequence[Sequence[Mapping[str, float]]]) -> list[float]:
    """Return for each of Keras's fits its median epoch as a multiple of our median training between its epochs."""
    ratios = []
    for number, fit in enumerate(keras):
        trainings = ours[number * len(ours) // len(keras) : (number + 1) * len(ours) // len(keras)]
        if trainings:
            ratios.append(median(epoch["seconds"] for epoch in fit[1:]) / median(seconds for _, seconds in trainings))
    return ratios


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fast", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=at_least(2), default=10)
    parser.add_argument("--keras-fits", type=at_least(1), default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/fast.json"))
    options = parser.parse_args()
    from benchmarks.compare.peer import Peer, Training
    from benchmarks.curves import write_arrays
    from mnist_cnn.data import datasets

    data_dir = options.data_dir.resolve()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    datasets.fetch("mnist", data_dir)
    ours: dict[str, list[tuple[float, float]]] = {name: [] for name in RECIPES}
    keras: list[list[dict[str, float]]] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_arrays(datasets.read("mnist", data_dir), folder / "mnist.npz")
        environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        peer = Training(Peer("keras_seeds", [str(folder / "mnist.npz"), str(KERAS_EPOCHS)], environment))
        try:
            assert peer.is_ready(), 'Keras on TensorFlow is needed: pip install -e ".[bench]"'
            turns = options.keras_fits * KERAS_EPOCHS
            for turn in range(turns):
                if turn % KERAS_EPOCHS == 0:
                    keras.append([])
                keras[-1].append(peer.epoch())
                for seed in range(turn * options.seeds // turns, (turn + 1) * options.seeds // turns):
                    for recipe, overrides in RECIPES.items():
                        ours[recipe].append(train(seed, overrides, data_dir, folder / f"{recipe}, {seed}"))
                write_atomically(options.out, json.dumps({"ours": ours, "keras": keras}, indent=1).encode())
        finally:
            peer.end()
    print(report(ours, keras))


if __name__ == "__main__":
    run_command(main)
