"""Write and remove files completely or not at all, also if the power fails: a name lasts once its folder is synced.

If a file system cannot sync folders, or has no locks, a warning says what is lost, and everything else continues.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".heic"}  # HEIC is refused, not skipped
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def locked(file: Path, timeout: float = -1) -> Iterator[None]:
    """Lock a file against other processes; the system releases it if its holder dies. Raises filelock.Timeout."""
    lock = FileLock(file, timeout=timeout)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _UNSUPPORTED:
            raise
        _warn_once("this file system has no locks: two processes that train in one folder would damage its run")
    try:
        yield
    finally:
        lock.release()


def is_locked(file: Path) -> bool:
    """Whether another process has locked a file."""
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # a read-only disk, or one without locks
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, sync it to the disk, and rename it to `path`.

    Only one process at a time may write a file. The next one overwrites what a killed one left.
    Raises OSError, naming the file, if it cannot be written; the old file is then still there.
    """
    with _replace(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def link_atomically(link: Path, target: Path) -> None:
    """Point a symbolic link to a folder; a relative `target` starts at the link's own folder."""
    with _replace(link) as temporary:
        temporary.unlink(missing_ok=True)
        if os.name != "posix":
            link.unlink(missing_ok=True)  # Windows replaces no link to a folder
        temporary.symlink_to(target, target_is_directory=True)


def remove(file: Path) -> None:
    """Remove a file if it exists. It stays removed if the power fails later."""
    file.unlink(missing_ok=True)
    if file.parent.is_dir():  # also if the file does not exist: the process that removed it may not have synced
        _sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and sync them."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def sync_path(folder: Path) -> None:
    """Sync a folder's name and those of its parents, which another program may have made."""
    folder = folder.resolve()
    while not os.path.ismount(folder):
        folder = folder.parent
        _sync_folder(folder)


@contextmanager
def _replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path; then rename it to `path`, or remove it after an error."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        make_folder(path.parent)
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Sync the names in a folder, where the system lets us."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder above our own need not be readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _warn_once("this file system cannot sync folders: a power failure may undo the newest files")
    finally:
        os.close(descriptor)


@cache
def _warn_once(message: str) -> None:
    log.warning("warning: %s", message)


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts 2.png before 10.png; 1.png and 01.png differ, too."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)], name


def relative(path: Path, folder: str = os.curdir) -> str:
    """Return a path relative to a folder; unchanged if it is on another of Windows' drives."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)
