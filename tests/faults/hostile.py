"""Checkpoint files that strangers could make: none may run code, take gigabytes, or be read past its end."""

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

from mnist_cnn.runs.archive import seal


class Call:
    """Pickles as a call of a function, which a careless reader makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def torch_file(content: Any, as_zip: bool = True) -> bytes:
    """Return the file that torch.save writes, sealed: a stranger can seal too."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=as_zip)
    return seal(buffer.getvalue()) if as_zip else buffer.getvalue()


def records(archive: bytes) -> dict[str, bytes]:
    """Return the records of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {entry.filename: file.read(entry) for entry in file.infolist()}


def zip_file(content: Mapping[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    """Return a sealed zip archive of records; a list may have a name twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w") as archive:  # of names given twice
        for name, record in content.items() if isinstance(content, Mapping) else content:
            archive.writestr(name, record)
    return seal(buffer.getvalue())


def hostile(good: bytes, proof: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files, named by what they try, made from the good file. Those that run code create the folder `proof`."""
    checkpoint = torch.load(io.BytesIO(good), weights_only=True)

    def among_the_weights(value: Any) -> bytes:
        return torch_file(checkpoint | {"state_dict": checkpoint["state_dict"] | {"net.evil": value}})

    def as_the_network(**model: Any) -> bytes:
        return torch_file(checkpoint | {"hyper_parameters": {"model": model}})

    shell, python = Call(os.system, f"mkdir {proof}"), f"__import__('os').mkdir({str(proof)!r})"
    itself: list[Any] = []
    itself.append(itself)
    yield "os.system among the weights", among_the_weights(shell)
    yield "builtins.eval", among_the_weights(Call(eval, python))
    yield "builtins.exec, nested", torch_file(checkpoint | {"callbacks": {"a": [{"b": (Call(exec, python),)}]}})
    yield "builtins.getattr", among_the_weights(Call(getattr, "text", "upper"))
    yield "bytearray(20 GB)", among_the_weights(Call(bytearray, 20 * 2**30))
    yield "an empty storage of 20 GB", among_the_weights(Call(torch.UntypedStorage, 20 * 2**30))
    yield "a sparse tensor", among_the_weights(torch.ones(2, 2).to_sparse())
    outside = torch.sparse_coo_tensor([[5], [5]], [1.0], (2, 2), check_invariants=False)
    yield "a sparse tensor whose indices lie outside", among_the_weights(outside)
    yield (
        "a torch.nn.Module for a network",
        torch_file(checkpoint | {"hyper_parameters": {"model": torch.nn.Linear(2, 2)}}),
    )
    yield "a network named os.system", as_the_network(name="os.system")
    yield "a network named by a list within itself", as_the_network(name=itself)
    yield "_target_ in the hyper-parameters", as_the_network(name="conv", _target_="os.system")
    called = {**checkpoint["hyper_parameters"], "_instantiator": "os.system"}  # CVE-2026-58659
    yield "an instantiator in the hyper-parameters", torch_file(checkpoint | {"hyper_parameters": called})
    yield "a weight of 10^12 numbers in 4 bytes", among_the_weights(torch.ones(1).expand(10**6, 10**6))
    infinite = {name: value / 0 for name, value in checkpoint["state_dict"].items()}
    yield "weights that are not finite", torch_file(checkpoint | {"state_dict": infinite})
    yield "a torch file from before zip", torch_file(checkpoint | {"evil": shell}, as_zip=False)
    yield "a TorchScript file", _torch_script()
    yield "a tar archive", _tar(pickle.dumps(shell, protocol=2))
    yield "a bare pickle", pickle.dumps(shell, protocol=2)
    yield from _zips(records(good), records(among_the_weights(shell))["archive/data.pkl"])
    yield from _pickles(records(good), pickle.dumps(shell, protocol=4))


def _zips(good: Mapping[str, bytes], evil: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield archives that two readers could read differently, or that are larger than they look."""
    name = "archive/data.pkl"
    yield "a second pickle of the same name", zip_file([*good.items(), (name, evil)])
    yield "a first pickle of the same name", zip_file([(name, evil), *good.items()])
    yield "a second pickle in a second folder", zip_file({**good, "other/data.pkl": evil})
    yield "a second pickle in capitals", zip_file({**good, name.upper(): evil})  # nobody reads it
    yield (
        "a tensor without its record",
        zip_file({name: record for name, record in good.items() if "/data/" not in name}),
    )
    yield "a tensor with half its record", zip_file({**good, "archive/data/0": good["archive/data/0"][::2]})
    yield "a compressed tensor of 64 MB", _bomb(good[name])


def _pickles(good: Mapping[str, bytes], evil: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield pickles that torch.save does not write."""
    name = "archive/data.pkl"
    more, less = _claim(good[name], 2**31 - 1), _claim(good[name], 1)
    ordered, storage = b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"
    head = b"(X\7\0\0\0storage" + storage + b"X\1\0\0\0000X\3\0\0\0cpuJ"
    true = head + struct.pack("<i", len(good["archive/data/0"]) // 4)
    false = b"\x80\x02" + head + struct.pack("<i", 2**31 - 1) + b"tq\0"
    sizes = b"K\0K\1\x85K\1\x85\x89" + ordered + b")R"  # offset, size, stride, requires_grad, hooks
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + true + b"tQ" + sizes + b"tR"
    for kind, content in {
        "protocol 4": evil,
        "a tensor that claims others' bytes": more,
        "a tensor that leaves bytes": less,
        "a storage whose key is a list": b"\x80\x02(X\7\0\0\0storage" + storage + b"]X\0\0\0\0K\1tQ.",
        "a storage that is a number": b"\x80\x02K\1Q.",
        "an item set in a tensor": b"\x80\x02" + tensor + b"K\0K\1s.",  # CVE-2026-24747
        "a storage named by the memo": false + true + b"th\0Q.",
        "a storage named by the memo, after five constants": false + true + b"h\0Q.",
        "an attribute of a class": b"\x80\x02ccollections\nCounter\nN}X\4\0\0\0evilK\1s\x86b.",
        "a class in place of the checkpoint": b"\x80\x02" + ordered + b".",
        "functions in place of attributes": b"\x80\x02" + ordered + b")R}X\3\0\0\0get" + ordered + b"sb.",
        "100,000 lists within lists": _deep_name(100_000),
        "9 MB": b"\x80\x02" + b"N0" * 4_500_000 + b"N.",
        "text of 4 GB": b"\x80\x02X\xff\xff\xff\xff.",
        "room for 2 billion values": b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".",
    }.items():
        yield f"a pickle: {kind}", zip_file({**good, name: content})


def _torch_script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # it is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _bomb(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", content)
        with archive.open("archive/data/0", "w", force_zip64=True) as entry:
            entry.write(bytes(2**26))
    return seal(buffer.getvalue())


def _deep_name(depth: int) -> bytes:
    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    name = b"]" * depth + b"a" * (depth - 1)
    model = b"}" + text("model") + b"}" + text("name") + name + b"ss"
    return b"\x80\x02}" + text("state_dict") + b"}s" + text("hyper_parameters") + model + b"s."


def _claim(content: bytes, items: int) -> bytes:
    """Change how many items the first storage claims to have: BININT2 or BININT1 after its device."""
    place = content.index(b"cpuq") + len("cpuq?")
    size = {b"K": 2, b"M": 3}[content[place : place + 1]]
    return content[:place] + b"J" + struct.pack("<i", items) + content[place + size :]
