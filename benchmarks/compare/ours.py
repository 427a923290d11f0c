"""What `python -m mnist_cnn.train` does: `... DATA_DIR`."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_cnn.cli import run_command

if TYPE_CHECKING:
    from mnist_cnn.training.fit import Training


def prepare(folder: Path, data_dir: Path, *overrides: str) -> "Training":
    """Build the training that the command would run on the CPU."""
    from mnist_cnn.runs.directory import Run
    from mnist_cnn.settings import compose
    from mnist_cnn.training.assemble import assemble
    from mnist_cnn.training.start import Options

    return assemble(compose(*overrides, f"data.dir={data_dir}", "trainer=cpu"), Run(folder), Options())


def main() -> None:
    """Train until the turns end."""
    from benchmarks.compare.turns import Turns

    with tempfile.TemporaryDirectory() as folder:
        job = prepare(Path(folder), Path(sys.argv[1]), "trainer.max_epochs=1000")
        job.trainer.callbacks.append(Turns())
        job.fit_and_test()


if __name__ == "__main__":
    run_command(main)  # which prepares the machine before torch is imported
