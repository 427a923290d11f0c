"""Damaged files are refused in one line; what we write, Keras reads."""

import random
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.keras import files
from mnist_cnn.keras.files import Layer
from tests.keras.models import build, describe, edit_weights, random_weights


def test_a_sound_file_gives_layers_weights_and_dtypes(digits: Path) -> None:
    file, model = files.read(digits), keras.models.load_model(digits)
    assert file.layers is not None
    assert [layer[:2] for layer in file.layers] == [layer[:2] for layer in describe(model).layers]
    assert file.dtypes == {"float32"}
    given = [array for arrays in file.weights.values() for array in arrays]
    for ours, theirs in zip(given, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_without_a_configuration_have_no_layers(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "a.weights.h5").write_bytes(edit_weights(digits, lambda file: None))
    assert files.read(tmp_path / "a.weights.h5").layers is None


def refuse(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        files.read(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_what_is_not_a_keras_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_bytes(b"hello")
    refuse(tmp_path / "a.keras", r"is damaged, too large, or not a Keras file \(OSError: .*signature not found")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("a", "hello")
    refuse(tmp_path / "a.keras", r"not a Keras file \(KeyError: .*config.json")


def damage(content: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.2:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(64):
        changed[generator.randrange(generator.choice((200, 4096, len(content))))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def test_10_damaged_files_raise_nothing_but_input_errors(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SECONDS", 5)  # now and then HDF5 never ends
    whole = [digits.read_bytes(), edit_weights(digits, lambda file: None)]
    generator, file, refused = random.Random(0), tmp_path / "damaged.keras", 0
    for number in range(10):
        file.write_bytes(damage(whole[number % 2], generator))
        try:
            files.read(file)
        except InputError:
            refused += 1
    assert refused >= 5


def test_reading_has_a_time_limit(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SECONDS", 0.01)
    refuse(digits, "reading it takes more than 0.01 seconds")


def test_reading_has_a_memory_limit(digits: Path, tmp_path: Path) -> None:
    def ask_for_two_gigabytes(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (2**15, 2**14), "f4", chunks=(2**10, 2**10))

    (tmp_path / "a.weights.h5").write_bytes(edit_weights(digits, ask_for_two_gigabytes))
    refuse(tmp_path / "a.weights.h5", "Unable to allocate|MemoryError")


def arrays_of(model: keras.Model) -> list[Any]:
    values = model.get_weights()
    return [values[start : start + 2] for start in range(0, len(values), 2)]


def test_keras_loads_a_weights_file_bit_for_bit(tmp_path: Path) -> None:
    model, other = random_weights(build()), build(names=True)
    (tmp_path / "a.weights.h5").write_bytes(files.weights_file(arrays_of(model)))
    other.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_keras_loads_a_keras_file_with_names_settings_and_weights(tmp_path: Path) -> None:
    model = random_weights(build(padding="same"))
    listed = [Layer(layer.kind, layer.name, layer.config) for layer in describe(model).layers]
    (tmp_path / "a.keras").write_bytes(files.keras_file(listed, arrays_of(model)))
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert describe(loaded).layers == listed
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_the_same_weights_give_the_same_bytes() -> None:
    weights = arrays_of(random_weights(build()))
    assert files.keras_file([], weights) == files.keras_file([], weights)
