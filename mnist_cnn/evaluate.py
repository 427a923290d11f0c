"""Test a trained network: `python -m mnist_cnn.evaluate RUN [--data-dir D] [--device auto] [--json] [--shift 0:8]`.

For the last checkpoint of a run in float32 it reproduces the numbers of result.json, exactly if the device is the same:
--device cpu for a run that was trained on the CPU.
--shift, --turn and --elastic also test on distorted images: a list of strengths, or a range START:STOP[:STEP].
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_cnn.cli import DEVICES, Parser, run_command
from mnist_cnn.data.strengths import STRENGTHS, parse_strengths
from mnist_cnn.runs.directory import checkpoint_file
from mnist_cnn.terminal import fit, waiting


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, test, and print a line."""
    parser = Parser(prog="python -m mnist_cnn.evaluate", description="Test a trained network.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("--data-dir", type=Path, help="the folder with the data set; default: that of the run")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    for kind, (unit, most, _) in STRENGTHS.items():
        text = f"also test on images with {kind} of these strengths, in {unit}: 1,2,4 or 0:{most} or 0:{most}:2"
        parser.add_argument(f"--{kind}", metavar="STRENGTHS", help=text)
    options = parser.parse_args(arguments)
    given = {kind: parse_strengths(kind, text) for kind in STRENGTHS if (text := getattr(options, kind)) is not None}
    with waiting("testing"):
        values = evaluate(options.run, options.data_dir, given, options.device)
    if options.json:
        print(json.dumps(values))
        return
    line = "{dataset}: test/acc {test/acc:.4f}  test/loss {test/loss:.4f}  on {test_images:,} test images"
    print(fit(line.format(**values), sys.stdout))
    for kind in given:
        for strength, accuracy in values[kind].items():
            print(f"{kind} {strength} {STRENGTHS[kind].unit}: {accuracy:.4f}")


def evaluate(
    run_or_file: str | Path,
    data_dir: Path | None = None,
    distortions: Mapping[str, Sequence[float]] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Test a checkpoint on the test images of its data set, and on distorted ones: {"shift": [0, 2, 4]}.

    `device` is auto (a GPU if there is one), cpu, cuda or mps.
    Raises InputError for an unusable checkpoint, data set or device, RunError if the device fails.
    """
    path = checkpoint_file(run_or_file)  # before importing torch, so that a wrong name fails at once

    import lightning.pytorch as pl
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    from mnist_cnn.model.backend import choose_device, device_errors, use_exact_kernels
    from mnist_cnn.model.primitives import to_floats
    from mnist_cnn.reports.answers import robustness
    from mnist_cnn.runs.trained import load_trained
    from mnist_cnn.training.progress import quiet_lightning

    quiet_lightning()
    use_exact_kernels()
    chosen = choose_device(device)
    trained = load_trained(path, data_dir)
    trainer = pl.Trainer(
        accelerator=chosen.type,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],  # one process, even under srun or torchrun
    )
    with device_errors("try --device cpu"):
        (tested,) = trainer.test(trained.classifier, trained.data, verbose=False)
        values = {"dataset": trained.dataset, "test_images": len(trained.test.labels), **to_floats(tested)}
        trained.classifier.to(chosen)  # the trainer moved it to the CPU
        for kind, strengths in (distortions or {}).items():
            (found,) = robustness([trained.classifier], trained.test, kind, strengths)
            values[kind] = {f"{strength:g}": found.accuracy[i] for i, strength in enumerate(strengths)}
    return values


if __name__ == "__main__":
    run_command(main)
