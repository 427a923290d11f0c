"""A Keras file's content as data: all of Keras's layouts, and nothing from outside the file."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from mnist_cnn.keras import reader
from tests.keras.models import NOTEBOOK, build, describe, edit_weights, random_weights

BIAS = "layers/conv2d_1/vars/1"


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return random_weights(build(names=True))


def read_weights(content: bytes) -> list[np.ndarray]:
    return [array for _, array in reader.unpack(content)[1]]


def assert_same(given: list[np.ndarray], model: keras.Model) -> None:
    for ours, theirs in zip(given, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def in_keras_2_layout(path: Path) -> None:
    """Keras 2.13 to 2.15 write this folder."""
    with h5py.File(path, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")


def as_older_weights(path: Path, out: Path) -> None:
    """Keras 2's save_weights puts at the root what save puts into model_weights."""
    with h5py.File(path) as whole, h5py.File(out, "w") as file:
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
        file.attrs["layer_names"] = whole["model_weights"].attrs["layer_names"]


def test_every_layout_gives_kernels_and_biases_in_the_order_of_the_layers(model: keras.Model, tmp_path: Path) -> None:
    model.compile("adam", "mse")  # its variables are in the file, too
    for name in ("a.keras", "a.weights.h5", "a.h5", "b.weights.h5"):
        model.save_weights(tmp_path / name) if "weights" in name else model.save(tmp_path / name)
    in_keras_2_layout(tmp_path / "b.weights.h5")
    as_older_weights(tmp_path / "a.h5", tmp_path / "b.h5")
    for file in tmp_path.iterdir():
        config, weights = reader.unpack(file.read_bytes())
        assert_same([array for _, array in weights], model)
        assert (config is not None) == (file.name in ("a.keras", "a.h5"))
        if config is not None:
            assert [name for _, name, _ in reader.list_layers(json.loads(config))] == [x.name for x in model.layers]


def test_the_process_gives_float32_and_names_the_stored_dtypes(digits: Path) -> None:
    content = edit_weights(digits, lambda file: replace(file, data=np.full(7, 0.5, np.float16)))
    done = subprocess.run([sys.executable, reader.__file__], input=content, capture_output=True, check=True)
    arrays = np.load(io.BytesIO(done.stdout))
    header = json.loads(str(arrays["header"]))
    assert header["dtypes"] == ["float16", "float32"]
    assert header["layers"] is None
    assert header["weights"] == [name for name in ("conv2d", "conv2d_1", "conv2d_2", "dense") for _ in range(2)]
    assert arrays["arr_3"].dtype == np.float32
    assert (arrays["arr_3"] == 0.5).all()


def replace(file: h5py.File, **dataset: Any) -> None:
    del file[BIAS]
    file.create_dataset(BIAS, **dataset)


def link(file: h5py.File, target: Any) -> None:
    del file[BIAS]
    file[BIAS] = target


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(7,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(7,))
    del file[BIAS]
    file.create_virtual_dataset(BIAS, layout)


@pytest.mark.parametrize(
    "edit",
    [virtual, lambda file: replace(file, shape=(7,), dtype="f4", external=[("/etc/passwd", 0, 28)])],
    ids=["virtual", "external"],
)
def test_bytes_of_other_files_are_refused(edit: Callable[[h5py.File], None], digits: Path) -> None:
    with pytest.raises(ValueError, match="another file"):
        reader.unpack(edit_weights(digits, edit))


@pytest.mark.parametrize(
    "target", [h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/layers/conv2d/vars/1")], ids=["external", "soft"]
)
def test_a_link_is_refused(target: Any, digits: Path) -> None:
    with pytest.raises(ValueError, match="behind a link"):
        reader.unpack(edit_weights(digits, lambda file: link(file, target)))


def test_a_layer_that_is_named_twice_is_read_once(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for item, names in ((file["model_weights"], "layer_names"), (file["model_weights/z99"], "weight_names")):
            item.attrs[names] = np.repeat(item.attrs[names], 9)
    assert_same(read_weights((tmp_path / "a.h5").read_bytes()), model)


def test_a_class_of_the_users_own_is_not_taken_for_keras_own() -> None:
    class Conv2D(layers.Conv2D):
        pass

    class Subclassed(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    assert describe(build(Conv2D(4, 3), "flatten")).layers[1].kind == "custom class Conv2D"
    assert [layer.kind for layer in describe(Subclassed()).layers] == ["custom class Subclassed"]


def test_a_class_whose_name_is_no_text_is_listed_as_text() -> None:
    entries = [{"class_name": name, "config": {}} for name in (["Conv2D"], 3, None)]
    listed = reader.list_layers({"class_name": "Sequential", "config": {"layers": entries}})
    assert [layer[:2] for layer in listed] == [("['Conv2D']", "['Conv2D']"), ("3", "3"), ("None", "None")]


def test_a_layer_that_is_used_twice_is_not_taken_for_one_that_is_used_once() -> None:
    shared = layers.ReLU()
    kinds = [layer.kind for layer in describe(build(shared, shared, *NOTEBOOK)).layers]
    assert kinds[:3] == ["InputLayer", "ReLU used more than once", "Conv2D"]
