"""A checkpoint's file: the zip archive that torch.save writes, sealed with a digest, inspected before torch reads it.

torch.load verifies no checksum, and with weights_only=True it still allocates what a few bytes ask for, such as
`bytearray(10**12)`. Here a file is refused unless it is what torch.save makes of tensors, numbers, text, lists and
dicts: it names nothing else, every tensor has its bytes, and nothing is larger than the file. What has passed is packed
anew for torch, whose own zip reader might see another file in the same bytes.
"""

import hashlib
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from mnist_cnn.errors import InputError, shown

_SEAL: Final = b"sha256:"
_LARGEST_PICKLE: Final = 8 * 2**20  # bytes of all but the numbers in tensors; a run has 20,000, and 100 an epoch
_DEEPEST: Final = 32  # lists within lists; a run's lie 8 deep
_ITEM_BYTES: Final[Mapping[str, int]] = {  # of what stands for a type in a pickle
    f"{kind}Storage": size
    for size, kinds in {8: ("Double", "Long"), 4: ("Float", "Int"), 2: ("Half", "BFloat16", "Short")}.items()
    for kind in kinds
} | dict.fromkeys(("CharStorage", "ByteStorage", "BoolStorage"), 1)


def saved(checkpoint: Mapping[str, Any]) -> bytes:
    """Return a sealed archive that `read` reads.

    Raises InputError if it would be refused: it must hold tensors and primitives alone.
    """
    buffer = io.BytesIO()
    torch.save({**checkpoint, "sealed": True}, buffer)
    content = sealed(buffer.getvalue())
    _inspected(io.BytesIO(content))
    return content


def sealed(archive: bytes) -> bytes:
    """Return an archive with the SHA-256 of all that stands before it as its comment."""
    comment_size = len(_SEAL) + 2 * hashlib.sha256().digest_size
    body = archive[:-2] + struct.pack("<H", comment_size)  # an archive ends with its comment's length
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode()


def read(path: Path) -> Any:
    """Read an archive: tensors, on the CPU, and primitives.

    Raises InputError if it is damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            records, is_sealed = _inspected(file)
        checkpoint = torch.load(io.BytesIO(_packed(records)), map_location="cpu", weights_only=True)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise InputError(f"{path} is damaged, or no checkpoint at all ({type(error).__name__})") from error
    if isinstance(checkpoint, dict) and checkpoint.get("sealed") and not is_sealed:
        raise InputError(f"{path} is damaged: it has lost the SHA-256 that it was written with")
    return checkpoint


def _inspected(file: io.BufferedIOBase) -> tuple[dict[str, bytes], bool]:
    """Return an archive's records once they have proved sound: data.pkl, data/0, data/1, ..."""
    with zipfile.ZipFile(file) as archive:
        is_sealed = archive.comment.startswith(_SEAL)
        if is_sealed and not _matches(file, archive.comment):
            raise InputError("is damaged: it does not match the SHA-256 that it was written with")
        records = _records(archive)
    _check_pickle(records)
    return records, is_sealed


def _matches(file: io.BufferedIOBase, comment: bytes) -> bool:
    size = file.seek(0, io.SEEK_END) - len(comment)
    file.seek(0)
    digest = hashlib.sha256()
    while size and (part := file.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return comment == _SEAL + digest.hexdigest().encode()


def _records(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    if len(entries) != len(archive.infolist()) or "data.pkl" not in entries:
        raise InputError("is no checkpoint, but another zip archive")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise InputError("is refused: it is compressed, and torch writes what it would expand to")
    if entries["data.pkl"].file_size > _LARGEST_PICKLE:
        raise InputError(f"is refused: beside its tensors it has more than {_LARGEST_PICKLE:,} bytes")
    needed = [name for name in entries if name in ("data.pkl", "version", "byteorder") or name.startswith("data/")]
    return {name: archive.read(entries[name]) for name in needed}  # compares each CRC-32


def _packed(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def _check_pickle(records: Mapping[str, bytes]) -> None:
    content = records["data.pkl"]
    for opcode, argument, _ in pickletools.genops(content):  # compares each length with what is there
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(content):  # Python would make room for as many
            raise InputError("is refused: its pickle numbers more parts than it has")
    _check_size(_Inspector(records).load(), at_most=len(content))


def _check_size(value: object, at_most: int) -> None:
    """Refuse lists within themselves, or that share lists that share lists: few bytes, but endless to walk through."""
    waiting, seen = [(value, 0)], 1
    while waiting:
        part, depth = waiting.pop()
        parts = [*part.keys(), *part.values()] if isinstance(part, dict) else part
        if isinstance(parts, list | tuple):
            seen += len(parts)
            if seen > at_most or depth == _DEEPEST:
                raise InputError("is refused: its lists contain each other, or too many one another")
            waiting.extend((each, depth + 1) for each in parts)


class _Inspector(pickle.Unpickler):
    """Goes through a pickle without importing, calling or allocating what it asks for."""

    def __init__(self, records: Mapping[str, bytes]) -> None:
        super().__init__(io.BytesIO(records["data.pkl"]))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _ITEM_BYTES:
            return name
        stand_in = _STAND_INS.get(f"{module}.{name}")
        if stand_in is None:
            raise InputError(
                f"is refused: it asks to call {shown(f'{module}.{name}')}, "
                "and a checkpoint must hold tensors and primitives alone"
            )
        return stand_in

    def persistent_load(self, reference: Any) -> "_Storage":
        _, kind, key, _, items = reference
        return _Storage(len(self._records[f"data/{key}"]), _ITEM_BYTES[kind] * items)


class _Storage:
    """The bytes of a tensor: those that are there must be those that it claims."""

    def __init__(self, there: int, claimed: int) -> None:
        if there != claimed:
            raise InputError("is refused: a tensor claims other bytes than it has")
        self.size = claimed


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, size: tuple[int, ...], *_: object) -> None:
        if math.prod(size) > storage.size:
            raise InputError("is refused: a tensor claims more numbers than it has")


class _Dict(dict[Any, Any]):
    """An OrderedDict or Counter, and the attributes that one may have."""


_STAND_INS: Final[Mapping[str, Any]] = {
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "collections.OrderedDict": _Dict,
    "collections.Counter": _Dict,
}
