"""Settings that keep tests short, as overrides of a run and as options of a DigitClassifier."""

from tests.faults.configs import QUICK as QUICK

SMALL = (*QUICK, "model.channels=[4,8]")
TINY = (*QUICK, "model.channels=[2]", "data.train_size=64")  # one step
VALIDATED = ("data.val_size=500", "trainer.max_epochs=2", "optimizer=adam", "scheduler=onecycle")  # 55 steps an epoch
NET = {"name": "conv", "channels": [4, 8]}
