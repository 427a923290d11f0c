"""Checkpoints that are made to hurt."""

import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_cnn.runs.archive import sealed


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
