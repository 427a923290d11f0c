"""The file of a checkpoint: the zip archive that torch.save writes, sealed with its SHA-256.

torch.load verifies no checksum. Here the seal and every record's CRC-32 are verified, and the pickle is checked. Then
the records are packed again, because torch's own zip reader might find different records in the same bytes.
"""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_cnn.errors import InputError
from mnist_cnn.runs import pickles


def to_bytes(checkpoint: Mapping[str, Any]) -> bytes:
    """Return a checkpoint as a sealed archive.

    Raises InputError if it holds anything but tensors and primitives: `read` would refuse it.
    """
    buffer = io.BytesIO()
    try:
        torch.save(dict(checkpoint), buffer)
    except Exception as error:  # an object says itself how it is pickled
        raise InputError(f"holds something that cannot be pickled: {error}") from error
    content = seal(buffer.getvalue())
    _read_records(content)
    return content


def seal(archive: bytes) -> bytes:
    """Add a comment to a zip archive that has none: the SHA-256 of all bytes before it."""
    body = archive[:-2] + struct.pack("<H", len("sha256:") + 64)  # an archive ends with the length of its comment
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def read(path: Path) -> Any:
    """Read a checkpoint file, sealed or as torch.save leaves it: tensors, on the CPU, and primitives.

    Raises InputError if the file is missing, damaged, or holds anything else.
    """
    try:
        records = _read_records(path.read_bytes())
        return torch.load(io.BytesIO(_pack(records)), map_location="cpu", weights_only=True)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile, pickletools and torch have many
        raise InputError(f"{path} is damaged, or not a checkpoint at all ({type(error).__name__})") from error


def _read_records(content: bytes) -> dict[str, bytes]:
    """Return the records that torch needs: data.pkl, data/0, data/1, ..."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.comment and content != seal(content[: -len(archive.comment)]):
            raise InputError("is damaged: its SHA-256 has changed since it was written")
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()) or "data.pkl" not in entries:
            raise InputError("is not a checkpoint, but another zip archive")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise InputError("is refused: it is compressed, and a few bytes could expand to gigabytes")
        needed = [name for name in entries if re.fullmatch(r"data\.pkl|version|byteorder|data/[0-9]+", name)]
        records = {name: archive.read(entries[name]) for name in needed}  # compares each CRC-32
    pickles.check(records)
    return records


def _pack(records: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, record in records.items():
            archive.writestr(f"archive/{name}", record)
    return buffer.getvalue()
