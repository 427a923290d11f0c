"""Time an epoch of the notebook's recipe beside its peers: `python -m benchmarks.compare [--rounds 5]`.

Each peer is a process of its own; they take turns, an epoch each, `--rounds` times after one to warm up. Prints
medians, spreads, and ratios to ours, round by round; then where our step's time goes.
Peers whose packages are missing are left out by name.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.compare.peer import Peer, Training
from benchmarks.curves import write_arrays
from mnist_cnn.cli import run_command
from mnist_cnn.data import datasets
from mnist_cnn.errors import one_of

STEPS = 938  # of an epoch
FLOP = 1.165e9  # of a step: forward, and twice that backward


def peers(data_dir: Path, arrays: Path) -> dict[str, Peer]:
    """Name the trainings that are compared."""
    folder, quiet = [str(data_dir)], {"TF_CPP_MIN_LOG_LEVEL": "3"}
    keras = {
        f"Keras on {name}": Peer("keras_notebook", [str(arrays)], {"KERAS_BACKEND": name.lower(), **quiet})
        for name in ("TensorFlow", "JAX", "torch")
    }
    return {
        "ours": Peer("ours", folder, {}),
        "bare loop, our net": Peer("bare_loop", folder, {}),
        **keras,
        "torch's own example": Peer("torch_example", folder, {}),
        "stock Lightning": Peer("stock_lightning", folder, {}),
    }


def measure(chosen: dict[str, Peer], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Return each peer's epochs, after one to warm up; they take turns."""
    trainings = {name: Training(peer) for name, peer in chosen.items()}
    try:
        ready = {name: training for name, training in trainings.items() if training.is_ready()}
        for name in set(trainings) - set(ready):
            print(f'{name} cannot run here: pip install -e ".[bench]"', file=sys.stderr)
        epochs: dict[str, list[dict[str, Any]]] = {name: [] for name in ready}
        for number in range(rounds + 1):
            for name, training in ready.items():
                epoch = training.epoch()
                if number:
                    epochs[name].append(epoch)
        return epochs
    finally:
        for training in trainings.values():
            training.end()


def peak(seconds: float = 2.0) -> float:
    """Measure how many floating-point operations a second the machine reaches in a large matrix product."""
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    best, begin = 0.0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        a @ b
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def table(epochs: dict[str, list[dict[str, Any]]], flops: float) -> str:
    """Write a line per peer: milliseconds a step, their range, how many times ours, share of the machine's peak."""
    lines = [f"{'':22} {'ms a step':>10} {'from - to':>15} {'/ ours':>8} {'from - to':>13} {'of peak':>8} {'MiB':>6}"]
    ours = [epoch["seconds"] for epoch in epochs["ours"]]
    for name, taken in sorted(epochs.items(), key=lambda item: median(epoch["seconds"] for epoch in item[1])):
        step = [1e3 * epoch["seconds"] / STEPS for epoch in taken]
        ratio = [epoch["seconds"] / own for epoch, own in zip(taken, ours, strict=True)]
        share = FLOP / flops / (median(step) / 1e3)
        lines.append(
            f"{name:22} {median(step):10.1f} {min(step):7.1f} - {max(step):<5.1f} {median(ratio):8.2f} "
            f"{min(ratio):6.2f} - {max(ratio):<4.2f} {share:8.0%} {taken[-1]['MiB']:6,}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--only", help="names, with semicolons between")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/compare.json"))
    options = parser.parse_args()
    data_dir = options.data_dir.resolve()
    datasets.fetch("mnist", data_dir)
    with TemporaryDirectory() as folder:
        arrays = Path(folder) / "mnist.npz"
        write_arrays(datasets.read("mnist", data_dir), arrays)
        chosen = peers(data_dir, arrays)
        names = options.only.split(";") if options.only else list(chosen)
        for name in names:
            one_of("--only", name, chosen)
        flops = peak()
        epochs = measure({name: chosen[name] for name in names}, options.rounds)
    print(f"{options.rounds} epochs each, {torch.get_num_threads()} threads, peak {flops / 1e9:.0f} GFLOP/s")
    print(table(epochs, flops))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(epochs, indent=1))
    subprocess.run([sys.executable, "-m", "benchmarks.compare.parts", str(data_dir)], check=True)


if __name__ == "__main__":
    run_command(main)
