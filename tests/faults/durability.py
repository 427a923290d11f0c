"""What a disk may hold after a power cut.

POSIX promises the content of a file once the file is synced, and a name (made, replaced or removed) once its folder is.
Of all changes since, any may have reached the disk, in any order; a content may be empty, or cut in half.
`Disk` builds these states, as ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018) do.
"""

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

Tree = dict[str, bytes | str | None]  # path: the content of a file, the target of a link, or None for a folder
_UNREAD = {"train.log", ".search.lock", ".table.lock"}  # no command reads them
_MOST = 500  # states at one moment; if there are more, which only faults leave, so many are drawn
_CHANGES = ("mkdir", "rename", "replace", "rmdir", "symlink", "unlink")


class Disk:
    """A folder, and the states that a power cut may leave of it.

    The folder itself is compared, before each fsync and after each change of a name, not the calls that changed it: no
    way of writing can be overlooked. All changes up to an fsync include those of any shorter prefix.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.states: dict[frozenset[Any], Tree] = {}
        self._names: dict[tuple[int, str], list[int]] = {}  # (folder, name): inodes since the last sync; 0: none
        self._contents: dict[int, list[Any]] = {}  # inode: its contents since the last sync
        self._held: list[int] = []  # open files: their inode numbers are not given away

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Collect the states that a power cut within the block may leave. What was there before counts as synced."""
        self._names, self._contents = {}, {}
        self._look()
        self._settle([*self._names.values(), *self._contents.values()])
        with ExitStack() as stack:
            for name in _CHANGES:
                stack.enter_context(patch.object(os, name, self._then_look(getattr(os, name))))
            stack.enter_context(patch.object(os, "fsync", self._sync))
            yield
        self._look()
        self.states |= self.left()
        while self._held:
            os.close(self._held.pop())

    def left(self) -> dict[frozenset[Any], Tree]:
        """Return the states that a power cut may leave now."""
        return {frozenset(tree.items()): tree for tree in self._trees(self.root.stat().st_ino)}

    def _then_look(self, change: Callable[..., None]) -> Callable[..., None]:
        def changed(*arguments: Any, **options: Any) -> None:
            change(*arguments, **options)
            self._look()

        return changed

    def _sync(self, descriptor: int) -> None:
        self._look()
        self.states |= self.left()
        inode = os.fstat(descriptor).st_ino
        self._settle([self._contents.get(inode, [])])
        self._settle([inodes for (folder, _), inodes in self._names.items() if folder == inode])

    def _settle(self, pending: Sequence[list[Any]]) -> None:
        for values in pending:
            del values[:-1]

    def _look(self) -> None:
        names = dict.fromkeys(self._names, 0)
        for path in self.root.rglob("*"):
            if path.name not in _UNREAD:
                inode = path.lstat().st_ino
                names[path.parent.stat().st_ino, path.name] = inode
                if inode not in self._contents:
                    self._held.append(os.open(path, os.O_PATH | os.O_NOFOLLOW))
                content = read(path)
                _note(self._contents.setdefault(inode, [b"" if isinstance(content, bytes) else content]), content)
        for name, inode in names.items():
            _note(self._names.setdefault(name, [0]), inode)

    def _trees(self, folder: int) -> Iterator[Tree]:
        choices = [
            [tree for inode in dict.fromkeys(inodes) for tree in self._below(name, inode)]
            for (parent, name), inodes in self._names.items()
            if parent == folder
        ]
        many = math.prod(map(len, choices)) > _MOST
        for chosen in _draw(choices) if many else product(*choices):
            yield {path: content for tree in chosen for path, content in tree.items()}

    def _below(self, name: str, inode: int) -> Iterator[Tree]:
        if not inode:
            yield {}
        elif self._contents[inode] == [None]:
            for tree in self._trees(inode):
                yield {name: None, **{f"{name}/{path}": content for path, content in tree.items()}}
        else:
            for content in _readable(self._contents[inode]):
                yield {name: content}


def read(path: Path) -> bytes | str | None:
    """Return the content of a file, the target of a link, or None for a folder."""
    if path.is_symlink():
        return str(path.readlink())
    return None if path.is_dir() else path.read_bytes()


def build(tree: Tree, folder: Path) -> None:
    """Make a folder that holds a state."""
    folder.mkdir()
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir()
        elif isinstance(content, str):
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content)


def _draw(choices: Sequence[Sequence[Tree]]) -> Iterator[Sequence[Tree]]:
    chance = random.Random(0)
    for _ in range(_MOST):
        yield [chance.choice(each) for each in choices]


def _note(values: list[Any], value: Any) -> None:
    if values[-1] != value:
        values.append(value)


def _readable(contents: Sequence[Any]) -> Sequence[Any]:
    """Return what may be read from a file with these contents since the last sync: or nothing, a half, or zeros."""
    if len(contents) == 1:
        return contents
    last = contents[-1]
    half = last[: len(last) // 2]
    return list(dict.fromkeys([*contents, b"", half, half.ljust(len(last), b"\0")]))
