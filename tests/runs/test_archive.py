import hashlib
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn.errors import InputError
from mnist_cnn.runs import archive
from tests.conftest import one_line
from tests.faults import checkpoints, hostile

STATE: dict[str, Any] = {
    "numbers": [1, -(2**40), 0.5, True, None, (1, 2, 3)],
    "tensors": {
        str(dtype): torch.ones(2, 3).to(dtype)
        for dtype in (torch.float64, torch.bfloat16, torch.half, torch.int8, torch.uint8, torch.int16, torch.bool)
    },
    "a part of a tensor": torch.arange(10)[2:8:3],
    "counts": Counter([3, 3, 5]),  # as in the state of MultiStepLR
    "weights": torch.nn.Linear(2, 3).state_dict(),  # an OrderedDict with an attribute
    "more than 256 names": {f"name {number}": torch.tensor(number) for number in range(100)},
    "nothing": torch.ones(0),
}


def stock_file(state: Any) -> bytes:
    """Return what a stock Trainer writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def read(file: Path, content: bytes) -> Any:
    file.write_bytes(content)
    return archive.read(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.ckpt"


@pytest.mark.parametrize("write", [archive.to_bytes, stock_file])
def test_it_reads_what_torch_reads(write: Any, file: Path) -> None:
    ours = read(file, write(STATE))
    theirs = torch.load(file, weights_only=True)
    assert str(ours) == str(theirs)
    assert str(ours) == str(STATE)
    assert ours["weights"]._metadata == theirs["weights"]._metadata


def test_tensors_of_a_gpu_are_read_on_the_cpu(file: Path) -> None:
    parts = hostile.records(archive.to_bytes({"weight": torch.ones(3)}))
    pickle = parts["archive/data.pkl"].replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:7")
    weight = read(file, hostile.zip_file({**parts, "archive/data.pkl": pickle}))["weight"]
    assert weight.device.type == "cpu"
    assert weight.tolist() == [1, 1, 1]


def test_the_seal_is_the_sha256_of_what_stands_before_it() -> None:
    body, _, digest = archive.to_bytes(STATE).rpartition(b"sha256:")
    assert digest.decode() == hashlib.sha256(body).hexdigest()


class Local:
    """Pickles by a name that nobody can import."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (lambda: None), ()


@pytest.mark.parametrize(
    "value",
    [Path(), {1, 2}, b"bytes", torch.nn.Linear(2, 2), torch.float32, Local()],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_read_is_not_written(value: Any) -> None:
    with pytest.raises(InputError, match="asks for|cannot be pickled"):
        archive.to_bytes({"callbacks": {"mine": value}})


def test_damaged_files_are_refused(file: Path) -> None:
    for kind, damaged in checkpoints.mutations(archive.to_bytes(STATE), 160):
        with pytest.raises(InputError, match="damaged") as refused:
            read(file, damaged)
        assert one_line(f"error: {refused.value}\n"), kind


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(InputError, match="file.ckpt cannot be read: No such file"):
        archive.read(file)


PROMISED = {  # hostile file: what the refusal says
    "bytearray(20 GB)": "asks for __builtin__.bytearray",
    "an empty storage of 20 GB": "asks for torch.storage.UntypedStorage",
    "a sparse tensor": "asks for torch._utils._rebuild_sparse_tensor",
    "a sparse tensor whose indices lie outside": "asks for torch._utils._rebuild_sparse_tensor",
    "a TorchScript file": "is compressed",
    "a compressed tensor of 64 MB": "is compressed",
    "a second pickle of the same name": "another zip archive",
    "a first pickle of the same name": "another zip archive",
    "a second pickle in a second folder": "another zip archive",
    "a tensor with half its record": "claims more or fewer bytes",
    "a pickle: a tensor that claims others' bytes": "claims more or fewer bytes",
    "a pickle: a tensor that leaves bytes": "claims more or fewer bytes",
    "a pickle: a storage named by the memo": "claims more or fewer bytes",
    "a pickle: a storage named by the memo, after five constants": "claims more or fewer bytes",
    "a pickle: an item set in a tensor": r"\(UnpicklingError\)",
    "a pickle: protocol 4": "the opcode FRAME",
    "a pickle: 9 MB": "more than 2,097,152 bytes",
    "a pickle: text of 4 GB": "is damaged",
    "a pickle: an attribute of a class": "is damaged",
}


@pytest.fixture(scope="module")
def hostile_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    good = archive.to_bytes({"state_dict": {"weight": torch.ones(3)}, "hyper_parameters": {"model": {}}})
    return dict(hostile.hostile(good, tmp_path_factory.mktemp("hostile") / "executed"))


@pytest.mark.parametrize("kind", PROMISED)
def test_hostile_files_are_refused_for_what_they_try(kind: str, hostile_files: dict[str, bytes], file: Path) -> None:
    with pytest.raises(InputError, match=PROMISED[kind]):
        read(file, hostile_files[kind])
    assert not hasattr(Counter, "evil")


def test_no_environment_variable_makes_it_run_code(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(InputError, match="asks for posix.mkdir"):
        read(file, hostile.torch_file(hostile.Call(os.mkdir, str(file.parent / "executed"))))
    assert not (file.parent / "executed").exists()
