"""A checkpoint's file: the zip archive that torch.save writes, sealed with a digest, inspected before torch reads it.

torch.load verifies no checksum, and with weights_only=True it still allocates what a few bytes ask for, such as
`bytearray(10**12)`. Here each record's CRC-32 is verified, the pickle inspected, and what has passed is packed anew
for torch, whose own zip reader might see another file in the same bytes.
"""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from mnist_cnn.errors import InputError
from mnist_cnn.runs import pickles

_SEAL: Final = b"sha256:"


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
    pickles.check(records["data.pkl"], {name: len(content) for name, content in records.items()})
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
    if entries["data.pkl"].file_size > pickles.LARGEST:
        raise InputError(f"is refused: beside its tensors it has more than {pickles.LARGEST:,} bytes")
    needed = [name for name in entries if re.fullmatch(r"data\.pkl|version|byteorder|data/[0-9]+", name)]
    return {name: archive.read(entries[name]) for name in needed}  # compares each CRC-32


def _packed(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()
