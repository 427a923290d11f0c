"""Damaged files are refused in one line; what we write, Keras reads."""

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mnist_cnn.errors import InputError
from mnist_cnn.keras import files
from mnist_cnn.keras.files import Layer
from tests.faults.keras_files import hostile
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


@pytest.mark.parametrize("depth", [960, 10_000])  # too deep here, as in Python 3.11; too deep for the reader, too
def test_a_configuration_that_is_nested_too_deeply_is_refused(depth: int, digits: Path, tmp_path: Path) -> None:
    config = '{"class_name":"A","config":{"a":' + "[" * depth + "]" * depth + "}}"
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", edit_weights(digits, lambda file: None))
    refuse(tmp_path / "a.keras", "nested too deeply|RecursionError")


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


PROMISED = {  # file: what the refusal says
    "a link to another .h5": "behind a link",
    "a link to a pipe": "behind a link",
    "a link to a device": "behind a link",
    "a link to itself": "behind a link",
    "a layer in another .h5": "behind a link",
    "a layer's group in another .h5": "behind a link",
    "all layers in another .h5": "behind a link",
    "weights stored in another file": "in another file",
    "weights stored in a pipe": "in another file",
    "10^18 numbers": "asks for 4,000,000,000,000,000,",
    "240 MB that were never written": "asks for 251,",
    "20 MB, and 80 MB as float32": "asks for 83,",
    "240 MB in 0.3 MB of gzip": "asks for 251,",
    "a chunk of 1 GiB for 10 numbers": "filter returned failure",  # the process may not take so much
    "config.json of 1.5 GiB": "asks for 1,610,612,736 bytes, and 67,108,864 are allowed",
    "model.weights.h5 of 1.5 GiB": "asks for 1,610,612,736 bytes, and 67,108,864 are allowed",
    "30 weights of a layer with a name of 40 kB": "asks for 1,20",
    "a configuration of 3 MB": "asks for 3,145,731 bytes, and 1,048,576 are allowed",
}


@pytest.fixture(scope="module")
def hostile_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(hostile(tmp_path_factory.mktemp("hostile")))


@pytest.mark.parametrize("kind", PROMISED)
def test_a_hostile_file_is_refused_for_what_it_tries(
    kind: str, hostile_files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.keras").write_bytes(hostile_files[kind])
    refuse(tmp_path / "a.keras", PROMISED[kind])
    assert hostile_files.keys() == PROMISED.keys()


def test_a_file_of_64_mib_is_read_and_one_byte_more_is_refused(digits: Path, tmp_path: Path) -> None:
    content = edit_weights(digits, lambda file: None)
    (tmp_path / "a.weights.h5").write_bytes(content + bytes(2**26 - len(content)))
    assert len(files.read(tmp_path / "a.weights.h5").weights) == 4
    (tmp_path / "a.weights.h5").write_bytes(content + bytes(2**26 + 1 - len(content)))
    refuse(tmp_path / "a.weights.h5", "asks for 67,108,865 bytes")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "is not a file")


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
