"""Checkpoints that are damaged, and checkpoints that are made to hurt."""

import io
import os
import pickle
import random
import struct
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from benchmarks.faults import Case
from mnist_cnn import load_classifier
from mnist_cnn.archive import sealed
from mnist_cnn.errors import InputError
from mnist_cnn.runs import Run
from mnist_cnn.saving import SaveLast
from mnist_cnn.train import CONF, train


class Calls:
    """Pickles as a call, which whoever unpickles it carelessly makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def saved(content: Any, zipped: bool = True) -> bytes:
    """Return the file that torch.save makes, sealed: a stranger can seal too."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return sealed(buffer.getvalue()) if zipped else buffer.getvalue()


def records(archive: bytes) -> dict[str, bytes]:
    """Return a zip archive's records by name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {entry.filename: file.read(entry) for entry in file.infolist()}


def zipped(content: Mapping[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    """Return a sealed zip archive of records; a list may hold a name twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w") as archive:  # of names held twice
        for name, record in content.items() if isinstance(content, Mapping) else content:
            archive.writestr(name, record)
    return sealed(buffer.getvalue())


def hostile(good: bytes, proof: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files by what they try. Those that run code make the folder `proof`."""
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)
    parts = records(good)
    name = next(name for name in parts if name.endswith("data.pkl"))

    def among_the_weights(value: Any) -> Any:
        return checkpoint | {"state_dict": checkpoint["state_dict"] | {"evil": value}}

    def pickled(content: bytes) -> bytes:
        return zipped({**parts, name: content})

    shell = Calls(os.system, f"mkdir {proof}")
    makes = f"__import__('os').mkdir({str(proof)!r})"
    evil_pickle = records(saved(among_the_weights(shell)))["archive/data.pkl"]
    yield "os.system among the weights", saved(among_the_weights(shell))
    yield "builtins.eval", saved(among_the_weights(Calls(eval, makes)))
    yield "builtins.exec, nested", saved(checkpoint | {"callbacks": {"a": [{"b": (Calls(exec, makes),)}]}})
    yield "builtins.getattr", saved(among_the_weights(Calls(getattr, "text", "upper")))
    yield "a network of its own", saved(checkpoint | {"hyper_parameters": {"model": torch.nn.Linear(2, 2)}})
    yield (
        "_target_ in the hyper-parameters",
        saved(checkpoint | {"hyper_parameters": {"model": {"name": "conv", "_target_": "os.system"}}}),
    )
    yield (
        "a hyper-parameter more",
        saved(
            checkpoint
            | {"hyper_parameters": {**checkpoint["hyper_parameters"], "optimizer": {"_target_": "os.system"}}}
        ),
    )
    yield "a torch file before zip", saved(among_the_weights(shell), zipped=False)
    yield "a tar archive", _tar(pickle.dumps(shell, protocol=2))
    yield "a bare pickle", pickle.dumps(shell, protocol=2)
    yield "a pickle of protocol 4", pickled(pickle.dumps(shell, protocol=4))
    yield "a second pickle of the same name", zipped([*parts.items(), (name, evil_pickle)])
    yield "a first pickle of the same name", zipped([(name, evil_pickle), *parts.items()])
    yield "a second pickle in capitals", zipped([*parts.items(), (name.upper(), evil_pickle)])
    yield "bytearray(20 GB)", saved(among_the_weights(Calls(bytearray, 20 * 2**30)))
    yield "a compressed tensor of 4 GB", _bomb(parts, name)
    yield "room for 2 billion parts", pickled(b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".")
    yield "lists that share lists", pickled(_shared_lists(40))
    yield "100,000 times a list of 100,000", pickled(_wide_lists(100_000))
    yield "a list within itself", pickled(b"\x80\x02]q\x00h\x00a.")
    yield "a name of 100,000 lists within lists", pickled(_deep_name(100_000))
    yield "a pickle of 9 MB", pickled(b"\x80\x02" + b"N0" * 4_500_000 + b"N.")
    yield "a tensor of 10^12 numbers in 4 bytes", saved(among_the_weights(torch.ones(1).expand(10**6, 10**6)))
    yield "a sparse tensor", saved(among_the_weights(torch.ones(2, 2).to_sparse()))
    yield "a tensor that claims others' bytes", pickled(_claiming_more(parts[name]))
    yield "a text of 4 GB", pickled(b"\x80\x02X\xff\xff\xff\xff.")
    yield (
        "weights that are not finite",
        saved(
            checkpoint | {"state_dict": {key: value * float("nan") for key, value in checkpoint["state_dict"].items()}}
        ),
    )


def _crafted(pickled: Callable[[bytes], bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield pickles that torch.save does not write."""
    name, keys = b"ccollections\nOrderedDict\n", b"X\x08\0\0\0_storage"
    shared = b"(Nt\x71\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    long_text = b"X" + struct.pack("<I", 10**6) + b"s" * 10**6 + b"q\x00"
    yield "a key of tuples that share tuples", pickled(b"\x80\x02}" + shared + b"Ns.")
    yield "a text of 1 MB, 300,000 times", pickled(b"\x80\x02](" + long_text + b"h\x00" * 300_000 + b"e.")
    yield "a class that is changed", pickled(b"\x80\x02" + name + b"N}X\x04\0\0\0keysX\x01\0\0\0xs\x86b.")
    yield "attributes that are functions", pickled(b"\x80\x02" + name + b")R}X\x03\0\0\0get" + name + b"sb.")
    yield "a class for a value", pickled(b"\x80\x02}X\x03\0\0\0get" + name + b"s.")
    yield "a tensor's key that is a list", pickled(b"\x80\x02(" + keys + b"ctorch\nFloatStorage\n]X\0\0\0\0K\x01tQ.")


def mutations(good: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield damaged copies of a file, by what was done to them."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
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


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _bomb(parts: Mapping[str, bytes], name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, parts[name])
        with archive.open(name.replace("data.pkl", "data/0"), "w", force_zip64=True) as entry:
            for _ in range(2**6):
                entry.write(bytes(2**26))
    return sealed(buffer.getvalue())


def _shared_lists(levels: int) -> bytes:
    content = b"\x80\x02]q\x00"
    for level in range(1, levels):
        content += b"]q" + bytes([level]) + (b"h" + bytes([level - 1]) + b"a") * 2
    return content + b"."


def _wide_lists(width: int) -> bytes:
    inner = b"]q\x00(" + b"N" * width + b"e"
    return b"\x80\x02](" + inner + b"h\x00" * width + b"e."


def _deep_name(depth: int) -> bytes:
    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    name = b"]" * depth + b"a" * (depth - 1)
    model = b"}" + text("model") + b"}" + text("name") + name + b"ss"
    return b"\x80\x02}" + text("state_dict") + b"}s" + text("hyper_parameters") + model + b"s."


def _claiming_more(content: bytes) -> bytes:
    place = content.index(b"cpuq")  # ..., location, memo, number of items
    place = content.index(b"M", place)
    return content[:place] + b"J\xff\xff\xff\x7f" + content[place + 3 :]


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
        train(_config("checkpoint.every_steps=50"), run)
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


def _config(*overrides: str) -> DictConfig:
    keys = ["data.name=sample", "trainer=cpu", "trainer.max_epochs=1", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=keys)


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
    seconds = time.monotonic() - begin
    return case._replace(wrong=wrong or (f"took {seconds:.1f} s" if seconds > 10 else ""), seconds=seconds)


def _resume(case: Case, work: Path, content: bytes) -> Case:
    file = work / "file.ckpt"
    file.write_bytes(content)
    begin = time.monotonic()
    try:
        train(_config(f"resume={file}"), Run(work / "resumed"))
    except InputError as error:
        wrong = "" if "\n" not in str(error) and case.fault != "the right one" else f"said {error}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = "was taken" if case.fault != "the right one" else ""
    return case._replace(wrong=wrong, seconds=time.monotonic() - begin)
