"""A stock Trainer with two processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.test_stock_trainer import fit, pytestmark  # noqa: F401 - the same warnings are expected

TWO = """
import os
import lightning.pytorch as pl, torch
from lightning.pytorch.callbacks import BasePredictionWriter
from mnist_cnn import DigitClassifier, MNISTDataModule

def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: two processes print

class Count(BasePredictionWriter):
    def __init__(self): super().__init__("epoch"); self.n = [0, 0, 0]
    def on_train_batch_end(self, t, m, o, b, i): self.n[0] += len(b[1])
    def on_validation_batch_end(self, t, m, o, b, i, d=0): self.n[1] += len(b[1])
    def on_test_batch_end(self, t, m, o, b, i, d=0): self.n[2] += len(b[1])
    def on_fit_end(self, t, m): say("fit", *self.n[:2], t.global_step)
    def on_test_end(self, t, m): say("test", self.n[2], int(m.test_metrics.images))
    def write_on_epoch_end(self, t, m, found, indices): say("predict", sum(len(p.digits) for p in found))

if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_fork", num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[Count()]
    )
    data = MNISTDataModule(name="sample", val_size=500, batch_size=100)
    classifier = DigitClassifier({"channels": [4, 4]})
    trainer.fit(classifier, data)
    trainer.test(classifier, data, verbose=False)
    trainer.predict(classifier, data, return_predictions=False)
"""


@pytest.mark.long
def test_two_processes_of_a_stock_trainer_share_the_images(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "two.py"], capture_output=True, text=True, timeout=240
    )
    said = sorted(line for line in done.stdout.splitlines() if line.split()[:1] in (["fit"], ["test"], ["predict"]))
    # of 3,500, 500 and 1,000 images; a test's sum over both is what `compute` has synchronised
    assert said == ["fit 1750 250 18"] * 2 + ["predict 500"] * 2 + ["test 500 500"] * 2, done.stderr
