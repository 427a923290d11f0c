"""Checkpoints that are damaged, made by a stranger, or of another training."""

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from mnist_cnn import load_classifier
from mnist_cnn.errors import InputError
from mnist_cnn.runs.directory import Run
from mnist_cnn.settings import compose
from mnist_cnn.train import train
from mnist_cnn.training.saving import SaveLast
from tests.faults import Case
from tests.faults.configs import QUICK
from tests.faults.hostile import hostile, records, torch_file, zip_file


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


def _zero(good: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(good))
    length = min(chance.choice([1, 64, 512, 4096]), len(good) - start)
    return good[:start] + bytes(length) + good[start + length :]


def _insert(good: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(good))
    return good[:place] + chance.randbytes(chance.choice([1, 16, 512])) + good[place:]


def _remove(good: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(good))
    return good[:place] + good[place + chance.choice([1, 16, 512]) :]


def _swap(good: bytes, chance: random.Random) -> bytes:
    """Two tensors of the same size change places, with their CRC-32; the seal is the old one."""
    parts = records(good)
    tensors = [name for name in parts if "/data/" in name]
    pairs = [(a, b) for a in tensors for b in tensors if len(parts[a]) == len(parts[b]) > 0 and parts[a] != parts[b]]
    a, b = chance.choice(pairs)
    parts[a], parts[b] = parts[b], parts[a]
    seal = good[good.rindex(b"sha256:") :]
    return zip_file(parts)[: -len(seal)] + seal


def _flip_unsealed(good: bytes, chance: random.Random) -> bytes:
    """A bit of a tensor, in a file that has no seal, as a stock Trainer writes it."""
    seal = good[good.rindex(b"sha256:") :]
    tensor = max(records(good).values(), key=len)
    start = good.index(tensor)
    return good[:start] + _flip(tensor, chance) + good[start + len(tensor) : -len(seal) - 2] + b"\0\0"


_MUTATIONS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "1 bit flipped": _flip,
    "8 bits flipped": lambda good, chance: _flip(good, chance, 8),
    "cut": _cut,
    "a block zeroed": _zero,
    "bytes inserted": _insert,
    "bytes removed": _remove,
    "two tensors swapped": _swap,
    "not sealed, 1 bit flipped": _flip_unsealed,
}


def cases(work: Path, count: int) -> Iterator[Case]:
    """Load damaged and hostile checkpoints, and resume from those of another training."""
    work.mkdir(exist_ok=True)
    run = Run(work / "good")
    train_within_an_epoch(run)
    good, proof = run.last.read_bytes(), work / "executed"
    weights = load_classifier(run.path).state_dict()
    for kind, content in mutations(good, count):
        yield _load(Case("checkpoint", f"damaged: {kind}"), work, content, weights, proof)
    for kind, content in hostile(good, proof):
        yield _load(Case("checkpoint, hostile", kind), work, content, weights, proof)
    yield _resume(Case("checkpoint, to resume", "the right one"), work, good)
    for kind, content in misfits(good):
        yield _resume(Case("checkpoint, to resume", kind), work, content)


def train_within_an_epoch(run: Run) -> None:
    """Train one epoch of 63 steps, and leave the checkpoint of step 48."""
    at_the_end = SaveLast.on_train_epoch_end
    SaveLast.on_train_epoch_end = lambda *_: None
    try:
        train(compose(*QUICK, "checkpoint.every_steps=40"), run)
    finally:
        SaveLast.on_train_epoch_end = at_the_end


def misfits(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield checkpoints whose network is sound, and which a training with the same settings cannot resume."""
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    config, (optimizer,) = checkpoint["config"], checkpoint["optimizer_states"]

    def without(key: str) -> bytes:
        return torch_file({name: value for name, value in checkpoint.items() if name != key})

    yield "another setting", torch_file(checkpoint | {"config": config | {"optimizer.lr": 1.0}})
    yield "a setting more", torch_file(checkpoint | {"config": config | {"optimizer.foo": 1.0}})
    yield "a setting that is a tensor", torch_file(checkpoint | {"config": config | {"optimizer.lr": torch.ones(3)}})
    yield "no settings", without("config")
    yield "another data set", torch_file(checkpoint | {"MNISTDataModule": {"dataset": "kmnist"}})
    yield "no optimizer", without("optimizer_states")
    no_state = [{**optimizer, "state": 3}]
    yield "optimizer state that is a number", torch_file(checkpoint | {"optimizer_states": no_state})
    yield "loops that are a number", torch_file(checkpoint | {"loops": 3})
    callbacks = checkpoint["callbacks"]
    yield "rows that are a number", torch_file(checkpoint | {"callbacks": callbacks | {"EpochLog": {"rows": 3}}})
    random_state = {"random": torch.full((5056,), 255).byte()}
    yield "a random state that is none", torch_file(checkpoint | {"callbacks": callbacks | {"SaveLast": random_state}})


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
        train(compose(*QUICK, f"resume={file}"), Run(work / case.fault.replace(" ", "-")))
    except InputError as error:
        wrong = "" if "\n" not in str(error) and case.fault != "the right one" else f"said {error}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = "was taken" if case.fault != "the right one" else ""
    return case._replace(wrong=wrong, seconds=time.monotonic() - begin)
