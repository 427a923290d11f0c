"""Overrides that cannot be used, each of its own kind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Case

QUICK = ("data.name=sample", "trainer=cpu", "trainer.max_epochs=1")
WRONG = {  # overrides: what the answer must contain
    # Hydra refuses
    "foo=1": "there is no key foo; --help lists all keys",
    "data.batchsize=1": "there is no key data.batchsize (did you mean data.batch_size?)",
    "optimizer=sgd optimizer.rho=0.9": "there is no key optimizer.rho with this choice of optimizer",
    "optimizer=adm": "optimizer=adm is not known: choose one of adam, adamw, muon, nadam, rmsprop, sgd "
    "(did you mean adam?)",
    "experiment=fats": "experiment=fats is not known: choose one of accurate, dense_vs_conv, fast, notebook_log, ",
    "data=fashion_mnist": "data=fashion_mnist is not known: set data.name=fashion_mnist",
    "epochs=3": "there is no key epochs (did you mean trainer.max_epochs?)",
    "model=null": "a group cannot be null: --help lists its choices",
    "optimizer=null": "a group cannot be null: --help lists its choices",
    "scheduler=null": "a group cannot be null: --help lists its choices",
    "model.padding=[a": "no viable alternative",
    "model.padding": "model.padding cannot be used: write KEY=VALUE",
    "optimizer.lr=${nope}": "Interpolation key 'nope' not found",
    "hydra.run.dir=${nope}": "Interpolation key 'nope' not found",
    "hydra.run.dir=/dev/null/run": "Not a directory: '/dev/null/run'",
    # a key that is missing, or one too many
    "~seed": "seed is missing: --help lists the choices",
    "~scheduler": "scheduler is missing",
    "~trainer.max_epochs": "trainer.max_epochs is missing",
    "~optimizer._target_": "optimizer._target_ is missing",
    "~optimizer.lr": "optimizer.lr is missing",
    "~model.padding": "model.padding is missing",
    "~model.name": "model.name is missing",
    "+epochs=3": "there is no key epochs: the configuration has seed, ",
    "+data.batchsize=1": "(did you mean batch_size?)",
    "+model.units=3": "there is no key model.units: model=conv has padding, pooling, channels",
    "model=dense +model.padding=valid": "there is no key model.padding: model=dense has hidden",
    "+checkpoint.foo=1": "there is no key checkpoint.foo: checkpoint has every_steps",
    "+trainer.precision=bf16-mixed": "trainer.precision exists already: drop the +",
    "+trainer.foo=1": "there is no key trainer.foo",
    "+trainer.max_stepz=3": "(did you mean max_epochs?)",
    "+trainer.fast_dev_run=true": "to try things quickly: data.name=sample trainer.max_epochs=1",
    "+trainer.accumulate_grad_batches=2": "there is no key trainer.accumulate_grad_batches",
    "+scheduler.foo=1": "it has options but no _target_",
    # a value of another type
    "seed=1.5": "seed=1.5 cannot be used: it should be a valid integer",
    "threads=two": "threads=two cannot be used: it should be a valid integer",
    "optimizer.lr=true": "optimizer.lr=True cannot be used: it should be a valid number",
    "optimizer.centered=maybe": "optimizer.centered=maybe cannot be used: it should be a valid boolean",
    "optimizer=muon optimizer.iterations=1.5": "optimizer.iterations=1.5 cannot be used: it should be a valid integer",
    "optimizer=muon optimizer.iterations=7": "optimizer.iterations=7 cannot be used: it should be less than or",
    "optimizer=muon optimizer.adam_share=-1": "optimizer.adam_share=-1 cannot be used: it should be greater",
    "optimizer=sgd optimizer.nesterov=5": "optimizer.nesterov=5 cannot be used: it should be a valid boolean",
    "trainer.gradient_clip_val=true": "trainer.gradient_clip_val=True cannot be used",
    "trainer.deterministic=maybe": "trainer.deterministic=maybe cannot be used",
    "trainer.detect_anomaly=maybe": "trainer.detect_anomaly=maybe cannot be used",
    "label_smoothing=null": "label_smoothing=None cannot be used",
    "resume=null": "resume=None cannot be used",
    "checkpoint=null": "checkpoint=None cannot be used: it should be a valid dictionary",
    "logger.also={_target_:os.getcwd}": "it is not a Lightning Logger",
    "logger.also=5": "logger.also=5 cannot be used: it should be a valid dictionary",
    "data.name=mnist data.dir=null": "data.dir=None cannot be used",
    "model.channels=8": "model.channels=8 cannot be used: it should be a valid list",
    # a value out of bounds
    "seed=-1": "seed=-1 cannot be used: it should be greater than or equal to 0",
    "threads=0": "threads=0 cannot be used",
    "label_smoothing=1": "label_smoothing=1 cannot be used: it should be less than 1",
    "checkpoint.every_steps=0": "checkpoint.every_steps=0 cannot be used",
    "data.batch_size=0": "data.batch_size=0 cannot be used: it should be greater than or equal to 1",
    "model.channels=[]": "model.channels=[] cannot be used: it should have at least 1 item",
    "model.channels=[8,0]": "model.channels=0 cannot be used",
    "optimizer.lr=-1": "optimizer.lr=-1 cannot be used",
    "optimizer.lr=nan": "optimizer.lr=nan cannot be used: it should be a finite number",
    "optimizer=adam optimizer.betas=[0.9]": "optimizer.betas=[0.9] cannot be used: it should have at least 2 items",
    "trainer.max_epochs=-3": "trainer.max_epochs=-3 cannot be used",
    "trainer.devices=0": "trainer.devices=0 cannot be used",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val=-1 cannot be used",
    "trainer.gradient_clip_val=nan": "trainer.gradient_clip_val=nan cannot be used",
    # a word that is not known
    "data.name=minst": "(did you mean mnist?)",
    "model.name=foo": "model.name=foo is not known: choose conv, dense",
    "model.padding=foo": "model.padding=foo is not known: choose valid or same",
    "model.padding=": "model.padding= is not known: choose valid or same",
    "trainer.accelerator=gpux": "trainer.accelerator=gpux is not known: choose auto, cpu, gpu",
    "trainer.precision=64-true": "choose 32-true, 16-mixed or bf16-mixed",
    "trainer.strategy=fsdp": "trainer.strategy=fsdp is not known: choose auto or ddp",
    "trainer.profiler={a:1}": "choose simple, advanced or pytorch",
    "data.name=mnist data.dir=empty data.mirrors=[ftp://x/]": "data.mirrors=ftp://x/ cannot be used",
    "data.mirrors=ftp://x/": "data.mirrors=ftp://x/ cannot be used",
    # what only the part itself can know
    "data.val_size=4000": "data.val_size=4000 leaves nothing to train on",
    "model.channels=[8,8,8,8,8,8]": "too deep: layer 4 has no pixels left",
    "model.channels=[32,64,128,256]": "too deep: layer 4 has no pixels left; model.padding=same keeps enough",
    "+optimizer.foo=1": "unexpected keyword argument 'foo'",
    "optimizer.epsilon=0": "KerasRMSprop could not be built: invalid value: lr=0.001, rho=0.9, momentum=0.0, epsilon=0",
    "optimizer._target_=os.getcwd": "optimizer=os.getcwd",
    "optimizer=sgd optimizer._target_=torch.optim.LBFGS": "optimizer=torch.optim.LBFGS",
    "scheduler=onecycle scheduler.pct_start=7": "pct_start",
    "scheduler=onecycle scheduler.total_steps=10": "The specified number of total steps is 10",
    "scheduler=cosine scheduler.T_max=0": "CosineAnnealingLR failed",
    "trainer.devices=10000": "trainer.devices=10000 is too many: this machine has ",
    "trainer.devices=[7]": "trainer.devices=[7] is not possible here",
    "logger.also={_target_:nowhere.X}": "logger=x cannot be used",
    "resume=nowhere": "there is no checkpoint ",
    "resume=/dev/null": "there is no checkpoint /dev/null",
    "resume=/etc/passwd": "/etc/passwd is damaged, or not a checkpoint at all",
    "data.name=mnist data.dir=/dev/null/x": "cannot be written",
    "data.name=mnist data.dir=empty": "data.dir=empty does not hold mnist, and train-images-idx3-ubyte.gz could not",
    "data.name=mnist data.mirrors=nowhere data.dir=empty": "No such file or directory",
}


def cases(work: Path) -> Iterator[Case]:
    """Give each on a command line: expect one line, status 2 and no files, soon."""
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
        limit = (
            10 if overrides.startswith("data.name=mnist data.dir") else 3
        )  # these import torch and try to write or to download
        yield Case("config", "wrong override", wrong, seconds, limit)
