"""Test what a run trained: `python -m mnist_cnn.evaluate RUN [--data-dir D] [--json]`.

For the last checkpoint of a run in float32, on the same device, it gives the numbers of result.json to the last digit.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_cnn.cli import run_command
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import checkpoint_file, run_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, test, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_cnn.evaluate", description="Test what a run trained.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("--data-dir", type=Path, help="the folder with the data set; default: the one of the run")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    values = evaluate(options.run, options.data_dir)
    line = "{dataset}: test/acc {test/acc:.4f}  test/loss {test/loss:.4f}  on {test_images:,} test images"
    print(json.dumps(values) if options.json else line.format(**values))


def evaluate(run_or_file: str | Path, data_dir: Path | None = None) -> dict[str, Any]:
    """Test a checkpoint on the test images of the data set that it was trained on.

    Raises InputError if the checkpoint or the data cannot be used.
    """
    path = checkpoint_file(run_or_file)  # before torch is imported: a wrong name answers at once

    import lightning.pytorch as pl

    from mnist_cnn.data.datasets import SAMPLE, TEST_IMAGES
    from mnist_cnn.data.module import MNISTDataModule
    from mnist_cnn.model.backend import use_float32
    from mnist_cnn.model.classifier import to_floats
    from mnist_cnn.runs.checkpoint import classifier_from, dataset_of, read_checkpoint
    from mnist_cnn.training.progress import quiet_lightning

    quiet_lightning()
    use_float32()
    checkpoint = read_checkpoint(path)
    classifier = classifier_from(checkpoint, path)
    dataset = dataset_of(checkpoint) or "mnist"
    name = SAMPLE if dataset == "mnist-sample" else dataset
    data = MNISTDataModule(data_dir or str(run_of(path).result().get("data_dir", "data")), name, fallback="error")
    try:
        data.prepare_data()
    except InputError as error:
        raise InputError(f"{error}: give --data-dir") from error
    trainer = pl.Trainer(
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    (values,) = trainer.test(classifier, data, verbose=False)
    return {"dataset": dataset, "test_images": TEST_IMAGES[name], **to_floats(values)}


if __name__ == "__main__":
    run_command(main)
