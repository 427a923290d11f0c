"""Check a checkpoint's pickle before torch reads it.

torch.load with weights_only=True runs no code, but it allocates what a few bytes ask for, such as `bytearray(10**12)`,
and it reads past the end of a record when a tensor claims more bytes than the record has. Only the opcodes and names
are allowed here that torch.save writes for tensors, numbers, text, lists, tuples and dicts, and each storage must have
exactly the bytes that it claims. torch itself checks sizes, strides and offsets within a storage (2.14).
"""

import pickletools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mnist_cnn.errors import InputError, abbreviate

MAX_BYTES: Final = 2 * 2**20  # of a pickle; a run's has 10,000, and 100 more per epoch
_ITEM_BYTES: Final[Mapping[str, int]] = {
    f"torch {dtype}Storage": size
    for size, dtypes in {
        8: ("Double", "Long"),
        4: ("Float", "Int"),
        2: ("Half", "BFloat16", "Short"),
        1: ("Char", "Byte", "Bool"),
    }.items()
    for dtype in dtypes
}
# Counter is in the state of MultiStepLR
_NAMES: Final = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict", "collections Counter", *_ITEM_BYTES}
_CONSTANTS: Final = {"BINUNICODE", "GLOBAL", "BININT", "BININT1", "BININT2", "LONG1"}
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
_OPCODES: Final = {
    *("PROTO", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "MARK", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS"),
    *("BINPERSID", "REDUCE", "BUILD", *_CONSTANTS, *_PUTS, *_GETS),
}
_STORAGE: Final = ["MARK", *["push"] * 5, "TUPLE"]  # ("storage", type, key, device, items)


def check(records: Mapping[str, bytes]) -> None:
    """Raise InputError, or what pickletools raises, unless torch may read these records: data.pkl, data/0, ..."""
    if len(records["data.pkl"]) > MAX_BYTES:
        raise InputError(f"is refused: its pickle has more than {MAX_BYTES:,} bytes")
    memo: dict[int, Any] = {}  # the constants; None stands for anything else
    last: deque[tuple[str, Any]] = deque(maxlen=len(_STORAGE))  # opcodes, and the constants that they push
    instructions: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(records["data.pkl"])
    for opcode, argument, _ in instructions:
        if opcode.name not in _OPCODES:
            raise InputError(f"is refused: its pickle has the opcode {opcode.name}, which torch.save does not write")
        if opcode.name == "GLOBAL" and argument not in _NAMES:
            name = abbreviate(argument.replace(" ", "."))
            raise InputError(f"is refused: it asks for {name}, and a checkpoint may hold only tensors and primitives")
        if opcode.name == "BINPERSID":
            _check_storage(list(last), records)
        if opcode.name in _PUTS:
            memo[argument] = last[-1][1]
        elif opcode.name in _GETS:
            last.append(("push", memo[argument]))
        elif opcode.name in _CONSTANTS:
            last.append(("push", argument))
        else:
            last.append((opcode.name, None))


def _check_storage(last: list[tuple[str, Any]], records: Mapping[str, bytes]) -> None:
    _, _, kind, key, _, items, _ = (constant for _, constant in last)
    claimed = items * _ITEM_BYTES[kind] if isinstance(items, int) else None
    if [opcode for opcode, _ in last] != _STORAGE or claimed != len(records[f"data/{key}"]):
        raise InputError("is refused: a tensor claims more or fewer bytes than the file has for it")
