"""Time from Enter: `python -m benchmarks.start [--rounds 5]`.

Of `--help` to its end, and of a training to the end of its first step: its checkpoint of that step appears.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from mnist_cnn.cli import run_command

COMMAND = [sys.executable, "-m", "mnist_cnn.train"]


def help_seconds(_: str) -> float:
    """Time --help."""
    begin = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def first_step_seconds(data_dir: str) -> float:
    """Time a training until its first checkpoint, then end it."""
    with TemporaryDirectory() as folder:
        overrides = [f"hydra.run.dir={folder}/run", f"data.dir={data_dir}", "checkpoint.every_steps=1", "trainer=cpu"]
        begin = time.perf_counter()
        training = subprocess.Popen([*COMMAND, *overrides], stdout=subprocess.DEVNULL)
        while not Path(folder, "run", "checkpoints", "last.ckpt").exists() and training.poll() is None:
            time.sleep(0.005)
        seconds = time.perf_counter() - begin
        assert training.poll() is None, "the training has ended"
        training.kill()
        training.wait()
    return seconds


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    for name, measure in (("--help", help_seconds), ("first step", first_step_seconds)):
        taken = [measure(str(options.data_dir.resolve())) for _ in range(options.rounds + 1)][1:]
        print(f"{name}: {median(taken):.2f} s ({min(taken):.2f} - {max(taken):.2f}, n = {len(taken)})")


if __name__ == "__main__":
    run_command(main)
