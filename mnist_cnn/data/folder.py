"""Pictures in a folder per class, read once: what was read is kept in the folder."""

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
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

_CACHE = ".mnist_cnn-{reading}-1.npz"  # in the folder; raise the number when `read_picture` gives other bytes
_SHOWN = 3  # pictures that are named in a warning

Pixels = NDArray[np.uint8]


class Labelled(NamedTuple):
    """Images as bytes (n, 28, 28), and the name of each one's class."""

    images: Pixels
    names: list[str]


def read_folder(path: Path, reading: Reading) -> list[Labelled]:
    """Read PICTURES/train/NAME/* and PICTURES/test/NAME/*; or PICTURES/NAME/*, all in one, where they are not split.

    Pictures that cannot be read are named in a warning, and left out.
    Raises InputError for a folder that is neither, and for a class without pictures.
    """
    if not path.is_dir():
        problem = "is not a folder, nor a .csv or .npz file" if path.exists() else "does not exist"
        raise InputError(f"data.dir={path} {problem}: give a folder with a folder of pictures per class")
    trees = [_list_files(folder) for folder in _parts(path)]
    files = [file for tree in trees for of_class in tree.values() for file in of_class]
    read, refused = _Cache(path, reading).read(files)
    if refused:
        named = "; ".join(refused[:_SHOWN]) + (f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else "")
        log.warning("warning: %d pictures are left out: %s", len(refused), named)
    return [_label(tree, read) for tree in trees]


def _parts(path: Path) -> list[Path]:
    """Return the folders of the training and the test images, or the one folder of both."""
    folders = {folder.name: folder for folder in _subfolders(path)}
    if not {"train", "test"} <= folders.keys():
        within = [{each.name for each in _subfolders(folder)} for folder in folders.values()]
        if within and within[0] and all(names == within[0] for names in within):
            raise InputError(f"{path} contains {', '.join(folders)} with the same folders: call them train and test")
        return [path]
    if others := sorted(folders.keys() - {"train", "test"}):
        raise InputError(
            f"{path} contains {others[0]}/ next to train/ and test/: data.val_size holds out validation images"
        )
    return [folders["train"], folders["test"]]


def _list_files(folder: Path) -> dict[str, list[Path]]:
    """Return the picture files of each class."""
    files = {each.name: _pictures(each) for each in _subfolders(folder)}
    if not files:
        raise InputError(f"{folder} has no folders: expected a folder of pictures per class, {folder}/NAME/*.png")
    if empty := [name for name, found in files.items() if not found]:
        raise InputError(f"class {abbreviate(empty[0])} has no pictures in {folder}: remove its folder, or fill it")
    return files


def _label(tree: Mapping[str, Sequence[Path]], read: Mapping[Path, Pixels]) -> Labelled:
    kept = [(file, name) for name, found in tree.items() for file in found if file in read]
    if lost := tree.keys() - {name for _, name in kept}:
        raise InputError(f"class {abbreviate(min(lost))} has no picture that can be read")
    return Labelled(np.stack([read[file] for file, _ in kept]), [name for _, name in kept])


def _subfolders(folder: Path) -> Iterator[Path]:
    found = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__MACOSX"))]
    yield from sorted(found, key=lambda each: natural_order(each.name))


def _pictures(folder: Path) -> list[Path]:
    found = [each for each in folder.rglob("*") if each.suffix.lower() in PICTURES and not each.is_dir()]
    shown = [each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts)]
    return sorted(shown, key=lambda each: natural_order(str(each)))


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
        try:
            for file in track(
                new, "reading pictures", console=console, disable=not console.is_terminal, transient=True
            ):
                try:
                    self.known[keys[file]] = read_picture(file, self.reading).numpy()
                except InputError as error:
                    refused.append(str(error))
        finally:  # also upon a signal
            self.known = {key: self.known[key] for key in keys.values() if key in self.known}  # not what was removed
            if new and self.known:
                self._save()
        return {file: self.known[key] for file, key in keys.items() if key in self.known}, refused

    def _key(self, file: Path) -> str:
        name = file.relative_to(self.root).as_posix()
        try:
            found = file.stat()
        except OSError:  # a link to nothing
            return name
        return f"{name} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"

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
            log.warning(
                "warning: %s cannot be written: %s: the pictures will be read again next time",
                self.file,
                error.strerror,
            )
