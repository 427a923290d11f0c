"""A Lightning project as its tutorials write it: `... DATA_DIR`."""

import sys
import tempfile
import warnings

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision import datasets, transforms

from benchmarks.compare.turns import Turns


class Classifier(pl.LightningModule):
    """The notebook's network and recipe."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, 32, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Conv2d(64, 128, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(1152, 10)),
        )
        self.accuracy = MulticlassAccuracy(10)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss, and log it with the accuracy."""
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_acc", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return RMSprop."""
        return torch.optim.RMSprop(self.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)


warnings.filterwarnings("ignore")
loader = DataLoader(
    datasets.MNIST(sys.argv[1], download=True, transform=transforms.ToTensor()), batch_size=64, shuffle=True
)
with tempfile.TemporaryDirectory() as folder:
    trainer = pl.Trainer(max_epochs=1000, accelerator="cpu", callbacks=[Turns()], default_root_dir=folder)
    trainer.fit(Classifier(), loader)
