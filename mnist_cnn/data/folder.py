"""Pictures in a folder per class, read once: what was read is kept in the folder."""

import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from mnist_cnn.data.pictures import read_picture
from mnist_cnn.errors import InputError, abbreviate
from mnist_cnn.files import PICTURES, natural_order, write_atomically
from mnist_cnn.schema import Reading

log = logging.getLogger(__name__)

_CACHE = ".mnist_cnn-{reading}.npz"  # in the folder: the pictures read so far
_SHOWN = 3  # pictures that are named in a warning

Pixels = NDArray[np.uint8]


class Labelled(NamedTuple):
    """Images as bytes (n, 28, 28), and the name of each one's class."""

    images: Pixels
    names: list[str]


def read_folder(path: Path, reading: Reading) -> list[Labelled]:
    """Read PICTURES/train/NAME/* and PICTURES/test/NAME/*; or PICTURES/NAME/*, all in one, where they are not split.

    Raises InputError for a folder that is neither, and for a class without pictures.
    """
    if not path.is_dir():
        raise InputError(f"data.dir={path} does not exist: give a folder with a folder of pictures per class")
    cache, folders = _Cache(path, reading), {folder.name: folder for folder in _subfolders(path)}
    if not {"train", "test"} <= folders.keys():
        return [_read_tree(path, cache)]
    if others := sorted(folders.keys() - {"train", "test"}):
        raise InputError(f"{path} has {others[0]} beside train and test: data.val_size holds out validation images")
    return [_read_tree(folders[part], cache) for part in ("train", "test")]


def _read_tree(folder: Path, cache: "_Cache") -> Labelled:
    """Read the pictures of each class; those that cannot be read are named in a warning and left out."""
    files = {each.name: _pictures(each) for each in _subfolders(folder)}
    if not files:
        raise InputError(f"{folder} has no folders: expected a folder of pictures per class, {folder}/NAME/*.png")
    if empty := [name for name, found in files.items() if not found]:
        raise InputError(f"class {abbreviate(empty[0])} has no pictures in {folder}: remove its folder, or fill it")
    read, refused = cache.read([file for found in files.values() for file in found])
    if refused:
        named = "; ".join(refused[:_SHOWN]) + (f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else "")
        log.warning("warning: %d pictures are left out: %s", len(refused), named)
    kept = [(file, name) for name, found in files.items() for file in found if file in read]
    if lost := files.keys() - {name for _, name in kept}:
        raise InputError(f"class {abbreviate(min(lost))} has no picture in {folder} that can be read")
    return Labelled(np.stack([read[file] for file, _ in kept]), [name for _, name in kept])


def _subfolders(folder: Path) -> Iterator[Path]:
    found = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    yield from sorted(found, key=lambda each: natural_order(each.name))


def _pictures(folder: Path) -> list[Path]:
    found = (each for each in folder.rglob("*") if each.suffix.lower() in PICTURES and not each.name.startswith("."))
    return sorted(found, key=lambda each: natural_order(str(each)))


class _Cache:
    """The pictures of a folder that were read before, kept in it. A file that has changed since is read again."""

    def __init__(self, root: Path, reading: Reading) -> None:
        self.root, self.reading, self.file = root, reading, root / _CACHE.format(reading=reading)
        self.known = self._load()

    def read(self, files: Sequence[Path]) -> tuple[dict[Path, Pixels], list[str]]:
        """Return the pictures by file, and why others could not be read."""
        keys = {file: self._key(file) for file in files}
        new = [file for file in files if keys[file] not in self.known]
        refused = list[str]()
        console = Console(stderr=True)
        for file in track(new, "reading pictures", console=console, disable=not console.is_terminal, transient=True):
            try:
                self.known[keys[file]] = read_picture(file, self.reading).numpy()
            except InputError as error:
                refused.append(str(error))
        if len(new) > len(refused):
            self._save()
        return {file: self.known[key] for file, key in keys.items() if key in self.known}, refused

    def _key(self, file: Path) -> str:
        known = file.stat()
        return f"{file.relative_to(self.root).as_posix()} {known.st_size} {known.st_mtime_ns}"

    def _load(self) -> dict[str, Pixels]:
        try:
            with np.load(self.file) as kept:
                return dict(zip(kept["keys"].tolist(), kept["images"], strict=True))
        except Exception:  # noqa: BLE001 - there is none, or it is damaged: the pictures are there
            return {}

    def _save(self) -> None:
        content = io.BytesIO()
        np.savez(content, keys=np.array([*self.known]), images=np.stack([*self.known.values()]))
        try:
            write_atomically(self.file, content.getvalue())
        except OSError as error:
            log.warning("warning: %s cannot be written: %s: pictures are read anew", self.file, error.strerror)
