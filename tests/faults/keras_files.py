"""Keras files that strangers could make: none may lead to another file, or unpack to gigabytes."""

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mnist_cnn.keras import files, reader
from tests.faults import Case, measure

_LAYER = "layers/dense"
_KERNEL = f"{_LAYER}/vars/0"


def hostile(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield files, named by what they try. What they lead to lies in `folder`."""
    shapes = ((3, 3, 1, 2), (2,)), ((242, 10), (10,))
    good = files.weights_file([[np.ones(shape, np.float32) for shape in layer] for layer in shapes])
    other, pipe = folder / "other.h5", folder / "pipe"
    other.write_bytes(good)
    os.mkfifo(pipe)
    for kind, name, target in (
        ("a link to another .h5", _KERNEL, h5py.ExternalLink(other, _KERNEL)),
        ("a link to a pipe", _KERNEL, h5py.ExternalLink(pipe, _KERNEL)),
        ("a link to a device", _KERNEL, h5py.ExternalLink("/dev/zero", _KERNEL)),
        ("a link to itself", _KERNEL, h5py.SoftLink(f"/{_KERNEL}")),
        ("a layer in another .h5", _LAYER, h5py.ExternalLink(other, _LAYER)),
        ("a layer's group in another .h5", f"{_LAYER}/vars", h5py.ExternalLink(other, f"{_LAYER}/vars")),
        ("all layers in another .h5", "model_weights", h5py.ExternalLink(other, "layers")),
    ):
        yield kind, _edit(good, name, lambda file, name=name, target=target: file.__setitem__(name, target))
    for kind, shape, dtype, options in (
        ("weights stored in another file", 10, "f4", {"external": [(other, 0, 40)]}),  # CVE-2026-1669
        ("weights stored in a pipe", 10, "f4", {"external": [(pipe, 0, 40)]}),
        ("10^18 numbers", (10**6,) * 3, "f4", {"chunks": (100,) * 3, "compression": "gzip"}),  # CVE-2026-0897
        ("240 MB that were never written", 60 * 2**20, "f4", {}),
        ("20 MB, and 80 MB as float32", 20 * 2**20, "i1", {}),
    ):
        options |= {"shape": shape, "dtype": dtype, "fillvalue": 1}
        yield kind, _edit(good, _KERNEL, lambda file, options=options: file.create_dataset(_KERNEL, **options))
    yield "240 MB in 0.3 MB of gzip", _edit(good, _KERNEL, lambda file: _write_zeros(file, 240, count=60 * 2**20))
    yield "a chunk of 1 GiB for 10 numbers", _edit(good, _KERNEL, lambda file: _write_zeros(file, 1024, count=10))
    yield "config.json of 1.5 GiB", _zip_bomb(1536, reader.CONFIG, {reader.WEIGHTS: good})
    yield "model.weights.h5 of 1.5 GiB", _zip_bomb(1536, reader.WEIGHTS, {reader.CONFIG: b"{}"})
    long = "[" + "[]," * 2**20 + "0]"
    name = "long" * 10_000
    more = {f"layers/{name}/vars/{number}": 1 for number in range(30)}
    yield "30 weights of a layer with a name of 40 kB", _edit(good, _KERNEL, lambda file: file.update(more))
    yield "a configuration of 3 MB", _edit(good, _KERNEL, lambda file: file.attrs.__setitem__("model_config", long))


def cases(work: Path) -> Iterator[Case]:
    """Read each file: one line, within 2 s and 512 MiB. The process that parses it is limited to 512 MiB, too."""
    for fault, content in hostile(work):
        (work / "file.keras").write_bytes(content)
        yield _case(fault, work / "file.keras")
    yield _case("a pipe", work / "pipe")


def _case(fault: str, file: Path) -> Case:
    return measure(Case("Keras file", fault, limit=2), lambda: f"was read: {files.read(file)}", mebibytes=512)


def _edit(good: bytes, name: str, make: Callable[[h5py.File], Any]) -> bytes:
    """Put something else in the place of `name`."""
    content = io.BytesIO(good)
    with h5py.File(content, "r+") as file:
        file.pop(name, None)
        make(file)
    return content.getvalue()


def _write_zeros(file: h5py.File, mebibytes: int, count: int) -> None:
    """Store `count` numbers in one chunk of gzip."""
    options = {"maxshape": (None,), "chunks": (mebibytes * 2**18,), "dtype": "f4", "compression": "gzip"}
    checksum = zlib.adler32(bytes(mebibytes * 2**20)).to_bytes(4, "big")
    file.create_dataset(_KERNEL, count, **options).id.write_direct_chunk(
        (0,), b"\x78\x9c" + _deflate_zeros(mebibytes) + checksum
    )


def _zip_bomb(mebibytes: int, name: str, others: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for other, content in others.items():
            archive.writestr(other, content)
        archive.writestr(name, _deflate_zeros(mebibytes))
        entry = archive.getinfo(name)  # the archive's directory is written last
        entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, mebibytes * 2**20
    return buffer.getvalue()


def _deflate_zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)) * mebibytes + b"\3\0"
