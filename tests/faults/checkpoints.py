"""Checkpoints that are damaged, or of another training, or made to hurt."""

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_cnn import load_classifier
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.train import compose, train
from mnist_cnn.training.saving import SaveLast
from tests.faults import Case
from tests.faults.configs import QUICK
from tests.faults.hostile import hostile, records, saved, zipped


def mutations(good: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield damaged copies of a file, by what was done to them."""
    chance = random.Random(seed)
    kinds = list(_MUTATIONS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        damaged = _MUTATIONS[kind](good, chance)
        if damaged != good:
            yield kind, damaged


def _flip(good: bytes, chance: random.Random, bits: int = 1) -> bytes:
    damaged = bytearray(good)
    for _ in range(bits):
        damaged[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _cut(good: bytes, chance: random.Random) -> bytes:
    return good[: chance.randrange(len(good))]


def _zeroed(good: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(good))
    length = min(chance.choice([1, 64, 512, 4096]), len(good) - start)
    return good[:start] + bytes(length) + good[start + length :]


def _inserted(good: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(good))
    return good[:place] + chance.randbytes(chance.choice([1, 16, 512])) + good[place:]


def _removed(good: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(good))
    return good[:place] + good[place + chance.choice([1, 16, 512]) :]


def _swapped(good: bytes, chance: random.Random) -> bytes:
    """Two tensors of the same size change places, with their checksums."""
    parts = records(good)
    pairs = [
        (a, b)
        for a in parts
        for b in parts
        if a < b and "/data/" in a and len(parts[a]) == len(parts[b]) and parts[a] != parts[b]
    ]
    a, b = chance.choice(pairs)
    parts[a], parts[b] = parts[b], parts[a]
    comment = good[good.rindex(b"sha256:") :]
    return zipped(parts)[: -len(comment)] + comment  # the seal is the old one


def _unsealed(good: bytes, chance: random.Random) -> bytes:
    """The digest goes, and then a bit of a tensor."""
    parts = records(good)
    name = chance.choice([name for name in parts if "/data/" in name and parts[name]])
    parts[name] = _flip(parts[name], chance)
    comment = good[good.rindex(b"sha256:") :]
    return zipped(parts)[: -len(comment) - 2] + b"\0\0"


_MUTATIONS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "1 bit flipped": _flip,
    "8 bits flipped": lambda good, chance: _flip(good, chance, 8),
    "cut": _cut,
    "a block zeroed": _zeroed,
    "bytes inserted": _inserted,
    "bytes removed": _removed,
    "two entries swapped": _swapped,
    "the digest removed, a bit flipped": _unsealed,
}


def cases(work: Path, count: int) -> Iterator[Case]:
    """Load damaged and hostile checkpoints, and resume from those that do not fit."""
    work.mkdir(exist_ok=True)
    run = Run(work / "good")
    within_an_epoch(run)
    good, proof = run.last.read_bytes(), work / "executed"
    weights = load_classifier(run.path).state_dict()
    for kind, content in mutations(good, count):
        yield _load(Case("checkpoint", f"damaged: {kind}"), work, content, weights, proof)
    for kind, content in hostile(good, proof):
        yield _load(Case("checkpoint, hostile", kind), work, content, weights, proof)
    yield _resume(Case("checkpoint, to resume", "the right one"), work, good)
    for kind, content in misfits(good):
        yield _resume(Case("checkpoint, to resume", kind), work, content)


def within_an_epoch(run: Run) -> None:
    """Train, and leave the checkpoint of step 50 of 63."""
    at_the_end = SaveLast.on_train_epoch_end
    SaveLast.on_train_epoch_end = lambda *_: None
    try:
        train(compose(*QUICK, "checkpoint.every_steps=50"), run)
    finally:
        SaveLast.on_train_epoch_end = at_the_end


def misfits(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield checkpoints whose network is sound, and whose state is not that of the training that they say."""
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]

    def with_state(state: object) -> bytes:
        return saved(checkpoint | {"optimizer_states": [{**optimizer, "state": state}]})

    first = optimizer["state"][0]
    name = next(iter(first))
    yield "optimizer state of another size", with_state({**optimizer["state"], 0: {**first, name: torch.ones(3)}})
    yield "optimizer state that would broadcast", with_state({**optimizer["state"], 0: {**first, name: torch.ones(1)}})
    yield (
        "optimizer state of another type",
        with_state({**optimizer["state"], 0: {**first, name: first[name].double()}}),
    )
    yield "optimizer state of fewer weights", with_state({0: first})
    yield "optimizer state that is a number", with_state(3)
    (group,) = optimizer["param_groups"]
    twisted = optimizer | {"param_groups": [group | {"params": [0] * 8}]}
    yield "optimizer state of one weight for all", saved(checkpoint | {"optimizer_states": [twisted]})
    yield "no optimizer", saved({key: value for key, value in checkpoint.items() if key != "optimizer_states"})
    yield "two optimizers", saved(checkpoint | {"optimizer_states": [optimizer, optimizer]})
    yield "a scheduler's state", saved(checkpoint | {"lr_schedulers": [{"last_epoch": 3, "optimizer": 4}]})
    yield "loops that are none", saved(checkpoint | {"loops": 3})
    yield "callbacks that are none", saved(checkpoint | {"callbacks": {"EpochLog": {"rows": 3}}})
    yield "rows that are none", saved(checkpoint | {"callbacks": _with_rows(checkpoint, [{"a": 1}])})
    yield (
        "a random state that is none",
        saved(
            checkpoint
            | {"callbacks": checkpoint["callbacks"] | {"SaveLast": {"random": torch.full((5056,), 255).byte()}}}
        ),
    )
    yield (
        "a configuration of tensors",
        saved(checkpoint | {"config": checkpoint["config"] | {"optimizer.lr": torch.ones(3)}}),
    )
    yield "an epoch before the first", saved(checkpoint | {"loops": _at_epoch(checkpoint["loops"], -(10**9))})
    yield "an epoch far away", saved(checkpoint | {"loops": _at_epoch(checkpoint["loops"], 10**8)})
    yield "a place beyond the epoch", saved(checkpoint | {"loops": _moved(checkpoint["loops"], 10**9)})
    yield "a place before the epoch", saved(checkpoint | {"loops": _moved(checkpoint["loops"], -1)})
    yield "another configuration", saved(checkpoint | {"config": checkpoint["config"] | {"optimizer.lr": 1.0}})
    yield "no configuration", saved({key: value for key, value in checkpoint.items() if key != "config"})
    yield "another data set", saved(checkpoint | {"MNISTDataModule": {"dataset": "kmnist"}})


def _with_rows(checkpoint: dict[str, Any], rows: object) -> dict[str, Any]:
    return checkpoint["callbacks"] | {"EpochLog": checkpoint["callbacks"]["EpochLog"] | {"rows": rows}}


def _at_epoch(loops: dict[str, Any], epoch: int) -> dict[str, Any]:
    progress = dict.fromkeys(("ready", "started", "processed", "completed"), epoch)
    return loops | {"fit_loop": loops["fit_loop"] | {"epoch_progress": {"total": progress, "current": progress}}}


def _moved(loops: dict[str, Any], batch: int) -> dict[str, Any]:
    state = {"combined_loader": [{"epoch": 0, "batch": batch}]}
    return loops | {"fit_loop": loops["fit_loop"] | {"state_dict": state}}


def _load(case: Case, work: Path, content: bytes, weights: Mapping[str, torch.Tensor], proof: Path) -> Case:
    file = work / "file.ckpt"
    file.write_bytes(content)
    begin, wrong = time.monotonic(), ""
    try:
        loaded = load_classifier(file).state_dict()
        wrong = "" if all(torch.equal(loaded[name], weights[name]) for name in weights) else "loaded other weights"
    except InputError as error:
        wrong = "" if "\n" not in str(error) else f"said {error}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = f"{type(error).__name__}: {error}"
    if proof.exists():
        proof.rmdir()
        wrong = "executed"
    return case._replace(wrong=wrong, seconds=time.monotonic() - begin, limit=10)


def _resume(case: Case, work: Path, content: bytes) -> Case:
    file = work / "file.ckpt"
    file.write_bytes(content)
    begin = time.monotonic()
    try:
        train(compose(*QUICK, f"resume={file}"), Run(work / "resumed"))
    except InputError as error:
        wrong = "" if "\n" not in str(error) and case.fault != "the right one" else f"said {error}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = "was taken" if case.fault != "the right one" else ""
    return case._replace(wrong=wrong, seconds=time.monotonic() - begin)
