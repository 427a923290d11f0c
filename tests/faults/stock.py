"""Lightning as its documentation teaches it, for the same kill test: `python -m tests.faults.stock FOLDER`.

The notebook's net on the same images; ModelCheckpoint every 20 steps, and fit(ckpt_path="last") when started again.
"""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import Case

EPOCHS, STEPS = 3, 20  # to train; between checkpoints


def main(folder: Path) -> None:
    """Train, or go on, and write a digest of the final weights."""
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from mnist_cnn.data import datasets

    class Classifier(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10)),
            )

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.RMSprop(self.parameters(), lr=1e-3, alpha=0.9)

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    pl.seed_everything(0)
    images, labels = datasets.sample().train
    loader = DataLoader(TensorDataset(images / 255, labels), batch_size=64, shuffle=True)
    saver = ModelCheckpoint(folder, save_last=True, every_n_train_steps=STEPS)
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[saver])
    last = folder / "last.ckpt"
    classifier = Classifier()
    trainer.fit(classifier, loader, ckpt_path=last if last.exists() else None)
    weights = torch.cat([part.detach().flatten() for part in classifier.parameters()])
    digest = hashlib.sha256(weights.numpy().tobytes()).hexdigest()
    (folder / "final.json").write_text(json.dumps({"steps": trainer.global_step, "weights": digest}))


def _start(folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.stock", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _final(folder: Path) -> dict[str, object]:
    return json.loads((folder / "final.json").read_text()) if (folder / "final.json").exists() else {}


def cases(work: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """Stop it at random moments, two of three times by SIGKILL, else by SIGTERM, start it again, compare."""
    work.mkdir(exist_ok=True)
    process = _start(work / "uncut")
    process.communicate()
    uncut = _final(work / "uncut")
    _start(work / "again").communicate()
    yield Case("stock Lightning", "not stopped", "" if _final(work / "again") == uncut else "other weights")
    first = min(file.stat().st_mtime for file in (work / "uncut").iterdir())
    seconds = (work / "uncut" / "final.json").stat().st_mtime - first

    def case(number: int) -> Case:
        folder, chance = work / f"stock-{number}", random.Random(seed + number)
        kind = signal.SIGTERM if number % 3 == 2 else signal.SIGKILL
        process = _start(folder)
        while process.poll() is None and not any(folder.iterdir()):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(kind)
        process.communicate()
        status, saved = process.returncode, (folder / "last.ckpt").exists()
        if not _final(folder):
            _start(folder).communicate()
        wrong = [] if _final(folder).get("weights") == uncut["weights"] else ["other weights"]
        wrong += [] if _final(folder) else ["did not start again"]
        wrong += [f"SIGTERM ended with {status}"] if kind is signal.SIGTERM and status != 143 else []
        shutil.rmtree(folder)
        return Case(
            f"stock Lightning, {kind.name}", "a checkpoint was there" if saved else "none yet", ", ".join(wrong)
        )

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(case, range(count))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
