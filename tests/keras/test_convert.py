"""Keras's own files give Keras's own answers here, and files of ours the same answers in Keras."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.keras import convert, files
from mnist_cnn.keras.convert import export_keras
from mnist_cnn.runs import archive
from tests.keras.models import build, edit_weights, probabilities, random_weights


def import_keras(source: Path, out: Path) -> str:
    return convert.import_keras(files.read(source), out)


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("options", [{}, {"names": True, "functional": False, "padding": "same"}], ids=str)
def test_an_imported_file_answers_as_in_keras(
    options: dict[str, Any], ending: str, sample: Dataset, tmp_path: Path
) -> None:
    model = random_weights(build(**options))
    file, out = tmp_path / f"digits{ending}", tmp_path / "digits.ckpt"
    model.save_weights(file) if ending == ".weights.h5" else model.save(file)
    said, *remarks = import_keras(file, out).split("; ")
    network = f"name conv, padding {options.get('padding', 'valid')}, pooling max, channels [5, 7, 11]"
    assert said == f"{network}, {model.count_params():,} parameters"
    expected = ["the file holds only weights: ReLU, this pooling and pixels in 0-1 are assumed"]
    assert remarks == (expected if ending == ".weights.h5" else [])
    images = sample.test.images[:100]
    ours = load_classifier(out).predict(images).probabilities.numpy()
    np.testing.assert_allclose(ours, probabilities(model, images), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_another_precision_are_converted_with_a_remark(dtype: str, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(dtype)
    try:
        model = random_weights(build("conv", "flatten", "dense"))
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "digits.keras")
    said = import_keras(tmp_path / "digits.keras", tmp_path / "a.ckpt")
    assert said.endswith(f"parameters; converted from {dtype} to float32")
    kernel = load_classifier(tmp_path / "a.ckpt").net.conv1.weight
    theirs = keras.ops.cast(model.get_layer(index=1).kernel, "float32").detach()
    assert torch.equal(kernel, torch.einsum("hwio->oihw", theirs))


def test_a_checkpoint_is_a_lightning_checkpoint(digits: Path, tmp_path: Path) -> None:
    import_keras(digits, tmp_path / "a.ckpt")
    assert DigitClassifier.load_from_checkpoint(tmp_path / "a.ckpt").net.conv3.out_channels == 11


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (build(activation="tanh"), "it is a different network: layer conv2d.* has activation=tanh, expected relu"),
        (build(*["conv"] * 3, *["pool"] * 2, "flatten", "dense"), "it is a different network: layer "),
    ],
    ids=["tanh", "another order"],
)
def test_another_network_is_refused_with_its_file_name(model: keras.Model, message: str, tmp_path: Path) -> None:
    model.save(tmp_path / "a.keras")
    with pytest.raises(InputError, match=message) as refused:
        import_keras(tmp_path / "a.keras", tmp_path / "a.ckpt")
    assert str(refused.value).startswith(f"{tmp_path / 'a.keras'} cannot be imported: ")
    assert not (tmp_path / "a.ckpt").exists()


def test_weights_that_fit_no_network_are_refused(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "a.weights.h5").write_bytes(edit_weights(digits, lambda file: file.__delitem__("layers/dense")))
    with pytest.raises(InputError, match="cannot be imported: it has weights of 3 layers, expected 4"):
        import_keras(tmp_path / "a.weights.h5", tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "dense", "hidden": 20},
        {"pooling": "average", "padding": "same", "channels": [3, 4]},
        {"pooling": "stride", "channels": [3, 4, 5]},
        {"pooling": "stride", "channels": [3, 4], "padding": "same"},
        {"pooling": "none", "channels": [3]},
        {},
    ],
    ids=str,
)
def test_every_network_answers_the_same_in_keras_and_comes_back(
    options: dict[str, Any], sample: Dataset, tmp_path: Path
) -> None:
    classifier = DigitClassifier(options)
    checkpoint = {"state_dict": classifier.state_dict(), "hyper_parameters": {"model": options}}
    run, exported = tmp_path / "run", tmp_path / "a.keras"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").write_bytes(archive.to_bytes(checkpoint))
    export_keras(run, exported)
    images = sample.test.images[:50]
    ours = classifier.predict(images).probabilities.numpy()
    np.testing.assert_allclose(probabilities(keras.models.load_model(exported), images), ours, atol=1e-6)
    import_keras(exported, tmp_path / "back.ckpt")
    back = load_classifier(tmp_path / "back.ckpt").net
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), classifier.net.parameters(), strict=True))


def test_exported_weights_are_loaded_by_keras_bit_for_bit(digits: Path, tmp_path: Path) -> None:
    import_keras(digits, tmp_path / "a.ckpt")
    said = export_keras(tmp_path / "a.ckpt", tmp_path / "back.weights.h5")
    assert said == "name conv, padding valid, pooling max, channels [5, 7, 11], 2,076 parameters"
    model = build(names=True)
    model.load_weights(tmp_path / "back.weights.h5")
    for ours, theirs in zip(model.get_weights(), keras.models.load_model(digits).get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_keras_itself_is_not_needed() -> None:
    modules = list(Path(files.__file__).parent.glob("*.py"))
    assert len(modules) == 7
    for module in modules:
        assert not re.search(r"^\s*(import|from) (keras|tensorflow)\b", module.read_text(), re.MULTILINE), module
