"""What `python -m mnist_cnn.train` does: `... DATA_DIR`."""

import sys
import tempfile
from pathlib import Path

from mnist_cnn.errors import run_command


def main() -> None:
    """Train until the turns end."""
    from omegaconf import OmegaConf

    from benchmarks.compare.turns import Turns
    from mnist_cnn.runs import Run
    from mnist_cnn.train import compose
    from mnist_cnn.training import assemble

    with tempfile.TemporaryDirectory() as folder:
        config = compose(f"data.dir={sys.argv[1]}", "trainer=cpu", "trainer.max_epochs=1000")
        job = assemble(OmegaConf.to_container(config, resolve=True), Run(Path(folder)))
        job.trainer.callbacks.append(Turns())
        job.fit_and_test()


run_command(main)  # which prepares the machine before torch is imported
