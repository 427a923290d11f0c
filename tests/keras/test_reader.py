"""Keras files that are refused for what they are: crafted weights and archives, bombs, damage."""

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.keras.__main__ import import_keras
from tests.conftest import one_line
from tests.keras.models import refuse, rezip


def edited_weights(digits: Path, edit: Callable[[h5py.File], Any]) -> bytes:
    with zipfile.ZipFile(digits) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        edit(file)
    return content.getvalue()


def nested(depth: int) -> bytes:
    return b'{"config": ' + b"[" * depth + b"]" * depth + b"}"


def replace(file: h5py.File, path: str, **dataset: Any) -> None:
    del file[path]
    file.create_dataset(path, **dataset)


def elsewhere() -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape=(7,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(7,))
    return layout


KERNEL, BIAS = "layers/conv2d_1/vars/0", "layers/conv2d_1/vars/1"
WEIGHTS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "a layer missing": (lambda file: file.__delitem__("layers/dense"), "dense has no weights in it"),
    "a layer missing between": (lambda file: file.__delitem__("layers/conv2d_1"), "its layer conv2d_2 has weights of"),
    "a layer too many": (
        lambda file: file.create_dataset("layers/dense_1/vars/0", data=np.ones(3)),
        "its layer dense_1 is one too many",
    ),
    "a bias missing": (lambda file: file.__delitem__(BIAS), "its layer conv2d_1 has weights of shapes"),
    "another shape": (
        lambda file: replace(file, KERNEL, data=np.ones((5, 5, 5, 7))),
        r"has weights of shapes \[\(5, 5,",
    ),
    "whole numbers": (lambda file: replace(file, BIAS, data=np.ones(7, np.int8)), "its weights are int8"),
    "text": (lambda file: replace(file, BIAS, data="seven"), "its weights are object"),
    "no number": (lambda file: file[BIAS].__setitem__(3, np.nan), "its weights are not all finite numbers"),
    "beyond float32": (
        lambda file: replace(file, BIAS, data=np.full(7, 1e300)),
        "its weights are not all finite numbers",
    ),
    "pieces of other files": (
        lambda file: (file.__delitem__(BIAS), file.create_virtual_dataset(BIAS, elsewhere())),
        "lies in another file",
    ),
    "nothing": (lambda file: replace(file, BIAS, data=h5py.Empty("f")), "is damaged, or no Keras file"),
    "a link to another file": (
        lambda file: (file.__delitem__(BIAS), file.__setitem__(BIAS, h5py.ExternalLink("/etc/passwd", "/"))),
        "is a link",
    ),
    "a link within": (
        lambda file: (file.__delitem__(BIAS), file.__setitem__(BIAS, h5py.SoftLink("/layers/conv2d/vars/1"))),
        "is a link",
    ),
    "another file's bytes": (
        lambda file: replace(file, BIAS, shape=(7,), dtype="f4", external=[("/etc/passwd", 0, 28)]),
        "lies in another file",
    ),
    "a shape bomb": (
        lambda file: replace(file, KERNEL, shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip"),
        "its weights have more than 134,217,728 bytes",
    ),
    "no layers": (lambda file: file.__delitem__("layers"), "conv1 has no weights in it"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_crafted_weights_are_refused(kind: str, digits: Path, tmp_path: Path) -> None:
    edit, message = WEIGHTS[kind]
    rezip(digits, tmp_path / "crafted.keras", weights=edited_weights(digits, edit))
    refuse(tmp_path / "crafted.keras", message)
    (tmp_path / "crafted.weights.h5").write_bytes(edited_weights(digits, edit))
    refuse(tmp_path / "crafted.weights.h5", "refused|damaged|cannot be imported")


ARCHIVES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "no configuration": (
        {"config_json": None},
        "it is no .keras file: it holds 0 files config.json",
    ),
    "no weights": ({"weights": None}, "it holds 0 files model.weights.h5"),
    "a configuration that is a bomb": (
        {"config_json": bytes(2**23)},
        "its configuration has more than 4,194,304 bytes",
    ),
    "a configuration without bottom": ({"config_json": nested(100_000)}, "is damaged, or no Keras file"),
    "weights that are text": ({"weights": b"hello"}, "is damaged, or no Keras file"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_crafted_archive_is_refused(kind: str, digits: Path, tmp_path: Path) -> None:
    members, message = ARCHIVES[kind]
    rezip(digits, tmp_path / "crafted.keras", **members)
    refuse(tmp_path / "crafted.keras", message)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(digits: Path, tmp_path: Path) -> None:
    rezip(digits, tmp_path / "bomb.keras", weights=None)
    with (
        zipfile.ZipFile(tmp_path / "bomb.keras", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.weights.h5", "w") as member,
    ):
        for _ in range(2**7 + 1):
            member.write(bytes(2**20))
    assert (tmp_path / "bomb.keras").stat().st_size < 2**20
    refuse(tmp_path / "bomb.keras", r"its model.weights.h5 has more than 134,217,728 bytes")


def test_a_zip_that_lies_about_its_size_gets_no_more_memory_than_the_reader_has(digits: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.keras"
    rezip(digits, bomb, weights=None)
    with (
        zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.weights.h5", "w") as member,
    ):
        for _ in range(2**10):
            member.write(bytes(2**20))
    content = bytearray(bomb.read_bytes())
    entry = content.rindex(b"model.weights.h5") - 46  # in the central directory
    content[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    bomb.write_bytes(content)
    refuse(bomb, "reading it takes more than")


def test_a_file_that_keeps_hdf5_busy_for_ever_is_refused(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cnn.keras.files._SECONDS", 3)

    def without_end(file: h5py.File) -> None:  # h5py would look into each of its elements
        replace(file, "layers/conv2d", shape=(10**9,), dtype="f4", chunks=(1000,))

    (tmp_path / "endless.weights.h5").write_bytes(edited_weights(digits, without_end))
    refuse(tmp_path / "endless.weights.h5", "reading it takes more than 3 seconds")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.keras").open("wb") as file:
        file.truncate(2**27 + 1)
    refuse(tmp_path / "large.keras", "it has more than 134,217,728 bytes")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
def test_a_name_that_would_lie_outside_is_refused(name: str, digits: Path, tmp_path: Path) -> None:
    rezip(digits, tmp_path / "crafted.keras")
    with zipfile.ZipFile(tmp_path / "crafted.keras", "a") as archive:
        archive.writestr(name, "evil")
    refuse(tmp_path / "crafted.keras", "that would lie outside")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_configurations_are_refused(digits: Path, tmp_path: Path) -> None:
    rezip(digits, tmp_path / "crafted.keras")
    with zipfile.ZipFile(tmp_path / "crafted.keras", "a") as archive:
        archive.writestr("config.json", "{}")
    refuse(tmp_path / "crafted.keras", "it holds 2 files config.json")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x89HDF\r\n\x1a\n", b"\x80\x04.", bytes(1000)])
def test_what_is_no_keras_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(content)
    refuse(tmp_path / "a.keras", "is damaged, or no Keras file")


def damaged(content: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.2:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(generator.choice((1, 4, 64))):
        changed[generator.randrange(min(len(content), generator.choice((200, 4096, len(content)))))] ^= (
            1 << generator.randrange(8)
        )
    return bytes(changed)


def test_of_120_damaged_files_none_is_more_than_a_line(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_cnn.keras.files._SECONDS", 3)  # now and then HDF5 comes to no end
    keras.models.load_model(digits).save(tmp_path / "older.h5")
    whole = [digits.read_bytes(), edited_weights(digits, lambda file: None), (tmp_path / "older.h5").read_bytes()]
    generator, file, refused = random.Random(0), tmp_path / "damaged.keras", 0
    for number in range(120):
        file.write_bytes(damaged(whole[number % 3], generator))
        try:
            import_keras(file, tmp_path / "a.ckpt", force=True)
        except InputError as error:
            one_line(f"error: {error}\n")
            refused += 1
    assert refused > 40
