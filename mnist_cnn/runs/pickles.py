"""What a checkpoint's pickle would make, told without making it: no name is looked up, nothing called or allocated.

Only what torch.save writes of tensors, numbers, text, lists, tuples and dicts passes: dicts have text or whole numbers
for keys, a tensor has its bytes, lists do not contain themselves, and written out all of it is of bounded size.
Pickle is a stack machine; `pickletools` reads its instructions, and here each value is but its kind and its size.
"""

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mnist_cnn.errors import InputError, shown

LARGEST: Final = 2 * 2**20  # bytes of a pickle; a run's has 10,000, and 100 more an epoch
_WRITTEN_OUT: Final = 8 * LARGEST  # letters and values, those counted again that are only named again
_DEEPEST: Final = 32  # lists within lists; a run's lie 8 deep
_TENSOR: Final = "torch._utils _rebuild_tensor_v2"
_DICTS: Final = ("collections OrderedDict", "collections Counter")
_ITEM_BYTES: Final[Mapping[str, int]] = {  # of what stands for a type
    f"torch {kind}Storage": size
    for size, kinds in {
        8: ("Double", "Long"),
        4: ("Float", "Int"),
        2: ("Half", "BFloat16", "Short"),
        1: ("Char", "Byte", "Bool"),
    }.items()
    for kind in kinds
}


class Refused(InputError):
    """A pickle that is not of tensors and primitives alone."""


@dataclass(slots=True)
class _Part:
    kind: str  # text, number, list, dict, tuple, tensor; or name, storage, mark, which are no values
    size: int = 1
    depth: int = 0
    value: Any = None  # of text, whole numbers and names; a storage's number of items
    parts: tuple["_Part", ...] = ()  # of a tuple; of a dict, its keys; a few
    named_again: bool = False

    def take(self, part: "_Part") -> None:
        """Hold another part."""
        if part.kind in ("name", "storage", "mark") or (part.kind == "tuple" and not part.value):
            raise Refused("is refused: it holds a name as a value")
        if self.named_again:
            raise Refused("is refused: its lists contain each other")
        self.size += part.size
        self.depth = max(self.depth, part.depth + 1)
        if self.size > _WRITTEN_OUT or self.depth > _DEEPEST:
            raise Refused("is refused: written out, its lists are too long or too deep")


_NUMBER: Final = _Part("number")


def check(content: bytes, sizes: Mapping[str, int]) -> None:
    """Raise Refused, or another error, unless a pickle is sound.

    `sizes` has the bytes that are there for each tensor's numbers, by name: data/0, data/1, ...
    """
    machine = _Machine(sizes)
    for opcode, argument, _ in pickletools.genops(content):  # compares each length with what is there
        machine.step(opcode.name, argument)
    (result,) = machine.stack
    _Part("list").take(result)


class _Machine:
    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.stack: list[_Part] = []
        self.memo: dict[int, _Part] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        match name:
            case "PROTO" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "BINFLOAT":
                self.stack.append(_NUMBER)
            case "BININT" | "BININT1" | "BININT2" | "LONG1":
                self.stack.append(_Part("number", value=argument))
            case "BINUNICODE":
                self.stack.append(_Part("text", size=1 + len(argument), value=argument))
            case "MARK" | "EMPTY_LIST" | "EMPTY_DICT":
                self.stack.append(_Part(name.removeprefix("EMPTY_").lower()))
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._tuple(self._pop(["EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"].index(name)))
            case "TUPLE":
                self._tuple(self._pop_to_mark())
            case "APPEND" | "APPENDS":
                parts = self._pop(1) if name == "APPEND" else self._pop_to_mark()
                self._extend("list", parts)
            case "SETITEM" | "SETITEMS":
                parts = self._pop(2) if name == "SETITEM" else self._pop_to_mark()
                self._set(parts)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.memo[argument].named_again = True
                self.stack.append(self.memo[argument])
            case "GLOBAL":
                self._name(argument)
            case "BINPERSID":
                self._storage(self.stack.pop())
            case "REDUCE":
                self._call(*self._pop(2))
            case "BUILD":
                self._attribute(*self._pop(2))
            case _:
                raise Refused(f"is refused: its pickle has the opcode {name}, which torch does not write")

    def _pop(self, count: int) -> list[_Part]:
        parts = self.stack[len(self.stack) - count :] if count else []
        if len(parts) < count or any(part.kind == "mark" for part in parts):
            raise Refused("is damaged: its pickle takes what it has not")
        del self.stack[len(self.stack) - count :]
        return parts

    def _pop_to_mark(self) -> list[_Part]:
        mark = next(place for place in range(len(self.stack) - 1, -1, -1) if self.stack[place].kind == "mark")
        parts = self.stack[mark + 1 :]
        del self.stack[mark:]
        return parts

    def _top(self, kind: str) -> _Part:
        if not self.stack or self.stack[-1].kind != kind:
            raise Refused(f"is damaged: its pickle takes something else for a {kind}")
        return self.stack[-1]

    def _tuple(self, parts: list[_Part]) -> None:
        made = _Part("tuple", value=all(part.kind not in ("name", "storage") for part in parts), parts=tuple(parts[:8]))
        for part in parts if made.value else ():
            made.take(part)
        self.stack.append(made)

    def _extend(self, kind: str, parts: list[_Part]) -> None:
        for part in parts:
            self._top(kind).take(part)

    def _set(self, parts: list[_Part]) -> None:
        for key in parts[::2]:
            if key.kind != "text" and not isinstance(key.value, int):
                raise Refused("is refused: a key of its dicts is no text and no whole number")
        self._extend("dict", parts)
        self._top("dict").parts = (*self._top("dict").parts, *parts[:4:2])[:2]  # enough to know one or none

    def _name(self, name: str) -> None:
        if name not in (_TENSOR, *_DICTS, *_ITEM_BYTES):
            asked = shown(name.replace(" ", "."))
            raise Refused(
                f"is refused: it asks to call {asked}, and a checkpoint must hold tensors and primitives alone"
            )
        self.stack.append(_Part("name", value=name))

    def _storage(self, reference: _Part) -> None:
        _, kind, key, _, items = (part.value for part in reference.parts)
        there = self.sizes.get(f"data/{key}") if isinstance(key, str) and key.isdecimal() and key.isascii() else None
        if there is None or not isinstance(items, int) or there != items * _ITEM_BYTES[kind]:
            raise Refused("is refused: a tensor claims other bytes than it has")
        self.stack.append(_Part("storage", value=items))

    def _call(self, function: _Part, arguments: _Part) -> None:
        if function.kind != "name" or arguments.kind != "tuple":
            raise Refused("is refused: it calls what is no name")
        given = arguments.parts
        if function.value == _TENSOR:
            self._tensor(*given)
        elif function.value in _DICTS and all(part.kind == "dict" for part in given):
            self.stack.append(given[0] if given else _Part("dict"))
        else:
            raise Refused(f"is refused: it asks to call {function.value.replace(' ', '.')} with what it does not take")

    def _tensor(
        self, storage: _Part, offset: _Part, size: _Part, stride: _Part, requires_grad: _Part, hooks: _Part
    ) -> None:
        lengths, strides = [part.value for part in size.parts], [part.value for part in stride.parts]
        numbers = [offset.value, *lengths, *strides]
        sound = (
            storage.kind == "storage" and len(lengths) == len(strides) <= 8 and hooks.kind == "dict" and not hooks.parts
        )
        if not sound or not all(isinstance(number, int) and 0 <= number < 2**40 for number in numbers):
            raise Refused("is refused: a tensor is made of other things than numbers")
        last = offset.value + sum((length - 1) * step for length, step in zip(lengths, strides, strict=True))
        if math.prod(lengths) > storage.value or (all(lengths) and last >= storage.value):
            raise Refused("is refused: a tensor claims more numbers than it has")
        self.stack.append(_Part("tensor"))

    def _attribute(self, owner: _Part, state: _Part) -> None:
        """Torch gives a network's weights one attribute: the version of each layer."""
        if owner.kind != "dict" or state.kind != "dict" or [key.value for key in state.parts] != ["_metadata"]:
            raise Refused("is refused: it sets attributes")
        self.stack.append(owner)
