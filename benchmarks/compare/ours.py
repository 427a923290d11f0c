"""What `python -m mnist_cnn.train` does: `... DATA_DIR`."""

import sys
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.compare.turns import Turns
from mnist_cnn.runs import Run
from mnist_cnn.train import CONF
from mnist_cnn.training import assemble

with initialize_config_dir(str(CONF), version_base="1.3"), tempfile.TemporaryDirectory() as folder:
    config = compose("train", [f"data.dir={sys.argv[1]}", "trainer=cpu", "trainer.max_epochs=1000"])
    job = assemble(OmegaConf.to_container(config, resolve=True), Run(Path(folder)))
    job.trainer.callbacks.append(Turns())
    job.fit_and_test()
