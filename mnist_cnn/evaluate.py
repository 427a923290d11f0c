"""Test what a run trained: `python -m mnist_cnn.evaluate RUN [--data-dir D] [--json]`.

Gives the test loss and accuracy of result.json to the last digit, on the same device.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_cnn.errors import InputError, run_command
from mnist_cnn.runs.directory import checkpoint_file, run_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, test, and print a line."""
    parser = argparse.ArgumentParser(prog="python -m mnist_cnn.evaluate", description="Test what a run trained.")
    parser.add_argument("run", metavar="RUN", help="a run directory (outputs/latest) or a checkpoint file")
    parser.add_argument("--data-dir", type=Path, help="where the data set lies; default: where the run had it")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    values = evaluate(options.run, options.data_dir)
    if options.json:
        print(json.dumps(values))
    else:
        print(
            "{dataset}: test/acc {test/acc:.4f}  test/loss {test/loss:.4f}  on {test_images:,} test images".format(
                **values
            )
        )


def evaluate(run_or_file: str | Path, data_dir: Path | None = None) -> dict[str, Any]:
    """Test a checkpoint on the test images of the data set that it was trained on.

    Raises InputError if the checkpoint or the data cannot be used.
    """
    import lightning.pytorch as pl

    from mnist_cnn.data import datasets
    from mnist_cnn.data.module import MNISTDataModule
    from mnist_cnn.model.classifier import plain
    from mnist_cnn.runs.checkpoint import classifier_from, dataset_of, read_checkpoint
    from mnist_cnn.training.progress import quiet_lightning

    path = checkpoint_file(run_or_file)
    checkpoint = read_checkpoint(path)
    classifier = classifier_from(checkpoint, path)
    dataset = dataset_of(checkpoint) or "mnist"
    name = datasets.SAMPLE if dataset == "mnist-sample" else dataset
    data = MNISTDataModule(data_dir or str(run_of(path).result().get("data_dir", "data")), name, fallback="error")
    try:
        data.prepare_data()
    except InputError as error:
        raise InputError(f"{error}: give --data-dir") from error
    quiet_lightning()
    trainer = pl.Trainer(
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    (values,) = trainer.test(classifier, data, verbose=False)
    return {"dataset": dataset, "test_images": datasets.TEST_IMAGES[name], **plain(values)}


if __name__ == "__main__":
    run_command(main)
