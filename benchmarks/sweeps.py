"""What a sweep and a search cost beyond training: `python -m benchmarks.sweeps [--only again,overhead,joblib,search]`.

On the embedded sample, in new processes. Ratios are of runs that take turns.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory

import torch

from mnist_cnn.runs.checkpoint import read_checkpoint
from mnist_cnn.runs.directory import Run

SMALL = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1", "model.channels=[2]", "data.batch_size=500")
SEARCH = ("data.name=sample", "data.val_size=500", "trainer=cpu", "model.channels=[8,16]")


def command(module: str, *arguments: str, **environment: str) -> float:
    """Run a command of ours. Returns the seconds it took."""
    begin = time.perf_counter()
    call = [sys.executable, "-m", f"mnist_cnn.{module}", *arguments]
    subprocess.run(call, check=True, capture_output=True, env=os.environ | environment)
    return time.perf_counter() - begin


def again(work: Path, jobs: int = 100) -> str:
    """Type a complete sweep again."""
    sweep = ("-m", f"seed=range({jobs})", *SMALL, f"hydra.sweep.dir={work / 'again'}")
    first = command("train", *sweep)
    seconds = [command("train", *sweep) for _ in range(5)]
    code = "import sys; from mnist_cnn.train import command; command(); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code, *sweep], check=True, capture_output=True, text=True).stdout
    return (
        f"a complete sweep of {jobs} jobs, run again: {median(seconds):.1f} s (n = 5, {min(seconds):.1f} to "
        f"{max(seconds):.1f}; the sweep itself took {first:.0f}); torch imported: {said.split()[-1]}"
    )


def overhead(work: Path, jobs: int = 40) -> str:
    """Time what a sweep does around its jobs' trainings, in one process."""
    code = (
        "import sys, time; from mnist_cnn.sweeps import job; from mnist_cnn.sweeps.sweep import sweep\n"
        "train, inside = job.train, []\n"
        "def timed(*arguments, **options):\n"
        "    begin = time.perf_counter(); train(*arguments, **options); inside.append(time.perf_counter() - begin)\n"
        "job.train = timed; begin = time.perf_counter(); sweep(sys.argv[1:])\n"
        "print((time.perf_counter() - begin - sum(inside)) / len(inside))"
    )
    per_job = []
    for turn in range(5):
        call = [sys.executable, "-c", code, f"seed=range({jobs})", *SMALL, f"hydra.sweep.dir={work / str(turn)}"]
        said = subprocess.run(call, check=True, capture_output=True, text=True).stdout
        per_job.append(float(said.splitlines()[-1]))
    return (
        f"a sweep's own time per job: {median(per_job):.3f} s (n = 5 sweeps of {jobs} jobs, {min(per_job):.3f} to "
        f"{max(per_job):.3f})"
    )


def joblib(work: Path, jobs: int = 6, epochs: int = 5) -> str:
    """Compare two jobs at once, of one thread each, with one at a time of two threads."""
    sweep = ("-m", f"seed=range({jobs})", "data.name=sample", "trainer=cpu", f"trainer.max_epochs={epochs}")
    two = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    ratios = []
    for turn in range(5):
        at_once = command("train", *sweep, *two, f"hydra.sweep.dir={work / f'two-{turn}'}")
        one_by_one = command("train", *sweep, f"hydra.sweep.dir={work / f'one-{turn}'}")
        ratios.append(one_by_one / at_once)
    alone = ("data.name=sample", "trainer=cpu", f"trainer.max_epochs={epochs}", "threads=1")
    same = 0
    for seed in range(jobs):
        command("train", *alone, f"seed={seed}", f"hydra.run.dir={work / f'alone-{seed}'}")
        ours, theirs = (
            read_checkpoint(Run(folder).last)["state_dict"]
            for folder in (work / "two-0" / f"seed={seed}", work / f"alone-{seed}")
        )
        same += all(torch.equal(ours[key], value) for key, value in theirs.items())
    return (
        f"two jobs at once: {median(ratios):.2f} x the throughput of one at a time with 2 threads (n = 5, "
        f"{min(ratios):.2f} to {max(ratios):.2f}); {same} of {jobs} bit-identical to the job alone with 1 thread"
    )


def search(work: Path, searches: int = 5, trials: int = 20, kills: int = 10) -> str:
    """Compare pruned searches with unpruned ones; then kill one again and again."""
    epochs, best = dict[str, list[int]](), dict[str, list[float]]()
    for seed in range(searches):
        for pruner in ("halving", "none"):
            folder = work / f"{pruner}-{seed}"
            given = (f"n_trials={trials}", f"pruner={pruner}", f"search.seed={seed}", f"search.dir={folder}")
            command("search", *given, *SEARCH)
            runs = [Run(path) for path in sorted(folder.glob("trial-*"))]
            epochs.setdefault(pruner, []).append(sum(len(run.rows()) for run in runs))
            (result,) = [run.result() for run in runs if run.result()]
            best.setdefault(pruner, []).append(result["val/acc"])
    share = [pruned / whole for pruned, whole in zip(epochs["halving"], epochs["none"], strict=True)]
    winners = "  ".join(f"{name} {mean(values):.4f} ± {stdev(values):.4f}" for name, values in best.items())
    return (
        f"a search of {trials} trials with halving: {mean(share):.0%} of the epochs (n = {searches}); the winner's "
        f"val/acc: {winners}; {_killed(work, trials, kills)}"
    )


def _killed(work: Path, trials: int, kills: int) -> str:
    chance, folder = random.Random(0), work / "killed"
    call = [sys.executable, "-m", "mnist_cnn.search", f"n_trials={trials}", f"search.dir={folder}", *SEARCH]
    for _ in range(kills):
        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(5, 40))
        if process.poll() is not None:
            raise RuntimeError("the search had ended before it was killed")
        process.send_signal(signal.SIGKILL)
        process.wait()
    command("search", *call[3:])
    ours, whole = (
        [json.loads(file.read_bytes())["params"] for file in sorted(where.glob("trial-*/trial.json"))]
        for where in (folder, work / "halving-0")
    )
    winners = [
        [(path.name, Run(path).result().get("val/acc")) for path in sorted(where.glob("trial-*")) if Run(path).result()]
        for where in (folder, work / "halving-0")
    ]
    same = ours == whole and winners[0] == winners[1]
    return f"killed {kills} times it ends with {'the same' if same else 'OTHER'} trials and winner"


MEASURES = {"again": again, "overhead": overhead, "joblib": joblib, "search": search}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(MEASURES), help="of " + ", ".join(MEASURES))
    for name in parser.parse_args(arguments).only.split(","):
        with TemporaryDirectory() as folder:
            print(MEASURES[name](Path(folder)), flush=True)


if __name__ == "__main__":
    main()
