"""Settings, options and images that keep tests short."""

from typing import Any

import torch

from tests.faults.configs import QUICK as QUICK

# overrides of a run
SMALL = (*QUICK, "model.channels=[4,8]")
TINY = (*QUICK, "model.channels=[2]", "data.train_size=64")  # one step
VALIDATED = ("data.val_size=500", "trainer.max_epochs=2", "optimizer=adam", "scheduler=onecycle")  # 55 steps an epoch

NET = {"name": "conv", "channels": [4, 8]}  # of a DigitClassifier
TRAINER: dict[str, Any] = {  # of a stock Trainer
    "max_epochs": 1,
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
IMAGES = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCH = IMAGES, torch.arange(8)
