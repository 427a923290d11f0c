"""Overrides that cannot be used, each of its own kind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Case

QUICK = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1")
WRONG = {  # overrides: what the answer must hold
    "foo=1": "there is no key foo; --help lists all",
    "data.batchsize=1": "there is no key data.batchsize: did you mean data.batch_size?",
    "optimizer=sgd optimizer.rho=0.9": "there is no key optimizer.rho with this choice of optimizer",
    "optimizer=rmspop": "Available options in 'optimizer': adam",
    "model.padding=foo": "give one of valid, same",
    "model.padding=": "give one of valid, same",
    "model.channels=[8,8,8,8,8]": "too deep",
    "optimizer.lr=-1": "optimizer.lr=-1",
    "+optimizer.foo=1": "foo",
    "optimizer._target_=os.getcwd": "optimizer=os.getcwd",
    "scheduler=onecycle scheduler.pct_start=7": "pct_start",
    "data.batch_size=0": "whole number from 1",
    "data.val_size=60000 data.name=mnist": "from 0 to 59999",
    "data.name=minst": "did you mean mnist",
    "+data.batchsize=1": "did you mean batch_size",
    "trainer.max_epochs=-3": "whole number from 1",
    "trainer.accelerator=gpux": "gpux",
    "+trainer.foo=1": "foo",
    "checkpoint.every_steps=0": "whole number ≥ 1",
    "seed=-1": "seed=-1",
    "label_smoothing=1": "label_smoothing=1 cannot be used",
    "label_smoothing=null": "label_smoothing=None cannot be used",
    "~seed": "seed=None",
    "~trainer.max_epochs": "trainer.max_epochs=None",
    "~optimizer._target_": "optimizer=None",
    "resume=null": "resume=None cannot be used",
    "resume=nowhere": "there is no checkpoint ",
    "data.name=mnist data.dir=/dev/null/x": "cannot be written",
    "data.name=mnist data.dir=empty data.mirrors=[ftp://x/]": "give http, https or file",
    "data.name=mnist data.dir=null": "data.dir=None cannot be used",
    "data.name=mnist data.dir=empty data.fallback=error": "could not be fetched",
    "+trainer.max_stepz=3": "the key trainer.*=max_stepz is not known",
    "checkpoint=null": "checkpoint=None cannot be used",
    "+trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0",
    "+trainer.precision=64-true": "give one of 32-true, 16-mixed, bf16-mixed",
    "scheduler=cosine scheduler.T_max=0": "scheduler=",
    "optimizer=sgd optimizer._target_=torch.optim.LBFGS": "optimizer=torch.optim.LBFGS",
    "+checkpoint.foo=1": "the key checkpoint.*=foo is not known",
    "+epochs=3": "the key=epochs is not known",
    "logger.also=5": "logger.also=5",
    "optimizer.lr=${nope}": "nope",
    "hydra.run.dir=/dev/null/run": "/dev/null/run cannot be written",
    "model.padding=[a": "no viable alternative",
}


def cases(work: Path) -> Iterator[Case]:
    """Give each on a command line: a line, status 2, nothing written, and soon."""
    work.mkdir(exist_ok=True)
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nobody listens there
    for overrides, expected in WRONG.items():
        command = [sys.executable, "-m", "mnist_cnn.train", *QUICK, *overrides.split()]
        begin = time.monotonic()
        done = subprocess.run(command, cwd=work, env=os.environ | offline, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        wrong = ""
        if done.returncode != 2 or done.stderr.count("\n") != 1 or expected not in done.stderr:
            wrong = f"{overrides}: ended with {done.returncode}: {done.stderr[-300:]}"
        elif any(work.iterdir()):
            wrong = f"{overrides}: wrote {sorted(work.iterdir())}"
        limit = 10 if overrides.startswith("data.name=mnist data.dir") else 3  # that is no wrong word, but a place
        yield Case("config", "wrong override", wrong, seconds, limit)
