"""Write files whole or not at all, also when the machine stops in between; name them as a person would."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside it, sync it to the disk, and rename it to `path`.

    Only one process at a time may write a file. What a killed one leaves, the next one overwrites.
    Raises OSError, naming the file, if it cannot be written. What was there before is then still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, hence not synced
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def relative(path: Path, folder: str = os.curdir) -> str:
    """Return a path relative to a folder; in full where it lies on another drive of Windows."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)
