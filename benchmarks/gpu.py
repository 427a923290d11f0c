"""Everything that only a GPU can tell, in one go: `python -m benchmarks.gpu [--data-dir D] [--mirror URL] [--quick]`.

The notebook's run, `experiment=fast`, and 3 epochs of `experiment=accurate`; the step in two memory layouts, two
precisions, and with kernels free to add in any order, in turns; and whether a resumed run is bit-identical. Under eight
minutes on one GPU; prints a line per figure, and writes one JSON file. --quick: the sample, to try the command itself.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from mnist_cnn.cli import run_command

ROUNDS = 3
VARIANTS = {  # of the notebook's step
    "as it is": (),
    "NCHW": (),
    "bf16-mixed": ("trainer.precision=bf16-mixed",),
    "kernels free": ("trainer.deterministic=false",),
}


def train(folder: Path, overrides: tuple[str, ...], pause_after: int | None = None) -> dict[str, Any]:
    """Train in a folder, and return the result."""
    from mnist_cnn.runs.directory import Run
    from mnist_cnn.settings import compose
    from mnist_cnn.training.start import Options
    from mnist_cnn.training.start import train as start

    return start(compose(*overrides), Run(folder), Options(overrides, show_bar=False, pause_after=pause_after))


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a result; the first epoch starts the device, and is left out of the step's time."""
    seconds, epochs = result["seconds_per_epoch"], result["epochs"]
    later = seconds[1:] or seconds
    return {
        "test/acc": result["test/acc"],
        "seconds_per_epoch": seconds,
        "ms_per_step": round(1000 * median(later) * epochs / result["steps"], 3),
    }


@contextmanager
def layout(name: str) -> Iterator[None]:
    """Within this context the network computes in the layout of a variant: plain NCHW, or as it is."""
    with ExitStack() as patches:
        if name == "NCHW":
            patches.enter_context(mock.patch("mnist_cnn.training.fit.move", lambda net, device: net.to(device)))
            plain = mock.patch("mnist_cnn.model.classifier.forward_fast", lambda net, images: net(images))
            patches.enter_context(plain)
        yield


def resumes(folder: Path, overrides: tuple[str, ...]) -> dict[str, float]:
    """Train two epochs at once, again, and with a pause between. Return how far the weights are from the first ones."""
    from torch.nn.utils import parameters_to_vector

    from mnist_cnn import load_classifier

    for name in ("whole", "again", "resumed"):
        for pause in (1, None) if name == "resumed" else (None,):
            train(folder / name, (*overrides, "trainer.max_epochs=2"), pause)
    first, again, resumed = (
        parameters_to_vector(load_classifier(folder / name).parameters()).detach()
        for name in ("whole", "again", "resumed")
    )
    return {"again": float((again - first).abs().max()), "resumed": float((resumed - first).abs().max())}


def measure(folder: Path, shared: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield each figure with its name."""
    runs = {"notebook": (), "fast": ("experiment=fast",), "accurate": ("experiment=accurate", "trainer.max_epochs=3")}
    for name, overrides in runs.items():
        result = train(folder / name, (*overrides, *shared))
        if name == "notebook":
            yield "machine", {key: result[key] for key in ("device", "device_name", "versions", "commit")}
        yield name, figures(result)
    steps: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(ROUNDS):
        for name, overrides in VARIANTS.items():
            with layout(name):
                result = train(folder / f"{name}-{turn}", (*overrides, *shared, "trainer.max_epochs=2"))
            steps[name].append(figures(result)["ms_per_step"])
    yield "ms a step, by turn", steps
    for name, overrides in {"fixed order": (), "kernels free": VARIANTS["kernels free"]}.items():
        yield f"weights after 2 epochs, {name}", resumes(folder / name, (*overrides, *shared))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--mirror", help="a URL of a folder with MNIST's .gz files")
    parser.add_argument("--quick", action="store_true", help="train on the sample, to try the command")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/gpu.json"))
    options = parser.parse_args()
    shared = (f"trainer={options.device}", f"data.dir={options.data_dir.resolve()}", "data.fallback=error")
    if options.mirror:
        shared = (*shared, f"data.mirrors=[{options.mirror}]")
    if options.quick:
        shared = (*shared, "data.name=sample")
    found = {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        for name, value in measure(Path(folder), shared):
            found[name] = value
            print(f"{name}: {json.dumps(value)}", flush=True)
            options.out.write_text(json.dumps(found, indent=1))  # after each: a lent machine may be taken back


if __name__ == "__main__":
    run_command(main)
