"""Keras's own files give Keras's own answers here, and files of ours the same answers in Keras."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
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


def people_have(kind: str) -> list[Any]:
    """Layers of networks that are not quite the notebook's."""
    layers = keras.layers
    conv, pool = (lambda filters, **o: layers.Conv2D(filters, 3, **{"activation": "relu", **o})), layers.MaxPooling2D
    if kind == "keras.io's mnist_convnet":
        return [conv(5), pool(), conv(7), pool(), layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, "softmax")]
    if kind == "a hidden layer":
        return [conv(5), pool(), conv(7), layers.Flatten(), layers.Dense(9, "relu"), layers.Dense(10, "softmax")]
    if kind == "batch normalization":
        normed = [conv(n, activation=None, padding="same") for n in (5, 7)]
        norm, relu = layers.BatchNormalization, layers.ReLU
        head = [layers.Flatten(), layers.Dense(10, "softmax")]
        return [normed[0], norm(), relu(), pool(), normed[1], norm(), layers.Activation("relu"), *head]
    idle = [layers.Reshape((28, 28, 1)), layers.RandomRotation(0.1), layers.GaussianNoise(0.1)]
    dropout, head = layers.SpatialDropout2D(0.2), [layers.Flatten(), layers.Dense(10, "softmax")]
    return [*idle, conv(5), pool(), dropout, conv(7), *head]


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize(
    "kind", ["keras.io's mnist_convnet", "a hidden layer", "batch normalization", "layers that do nothing at inference"]
)
def test_networks_that_people_have_answer_as_in_keras_and_there_again(
    kind: str, ending: str, sample: Dataset, tmp_path: Path
) -> None:
    model = keras.Sequential([keras.Input((28, 28, 1)), *people_have(kind)])
    drawn = np.random.default_rng(0)
    floats = [part.dtype == np.float32 for part in model.get_weights()]  # the others are random states
    given = [abs(drawn.normal(0, 0.1, part.shape)) for part in model.get_weights()]  # a variance is positive
    weights = [new if is_float else old for new, old, is_float in zip(given, model.get_weights(), floats, strict=True)]
    model.set_weights(weights)
    file, out = tmp_path / f"digits{ending}", tmp_path / "digits.ckpt"
    model.save_weights(file) if ending == ".weights.h5" else model.save(file)
    import_keras(file, out)
    images = sample.test.images[:50]
    expected = probabilities(model, images)
    ours = load_classifier(out).predict(images).probabilities.numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    export_keras(out, tmp_path / "back.keras")
    back = keras.models.load_model(tmp_path / "back.keras")
    np.testing.assert_allclose(probabilities(back, images), expected, atol=1e-4)


def test_rescaling_bytes_is_what_we_do_ourselves(tmp_path: Path) -> None:
    first = {scale: keras.layers.Rescaling(scale) for scale in (1 / 255, 1 / 127.5)}
    for scale, layer in first.items():
        build(layer, "conv", "flatten", "dense").save(tmp_path / f"{scale}.keras")
    import_keras(tmp_path / f"{1 / 255}.keras", tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="it is a different network: layer rescaling"):
        import_keras(tmp_path / f"{1 / 127.5}.keras", tmp_path / "b.ckpt")


def test_a_network_with_dropout_and_normalization_goes_to_keras_and_back(sample: Dataset, tmp_path: Path) -> None:
    options = {"channels": [4, 6], "norm": "batch", "dropout": 0.3, "hidden": 8, "padding": "same"}
    classifier = DigitClassifier({"name": "conv", **options})
    classifier.train()(sample.train.images[:64])  # moves the running means
    archived = {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)}
    (tmp_path / "a.ckpt").write_bytes(archive.to_bytes(archived))
    images = sample.test.images[:50]
    expected = load_classifier(tmp_path / "a.ckpt").predict(images).probabilities.numpy()
    export_keras(tmp_path / "a.ckpt", tmp_path / "a.keras")
    model = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(probabilities(model, images), expected, atol=1e-4)
    model.set_weights([np.zeros_like(part) for part in model.get_weights()])
    export_keras(tmp_path / "a.ckpt", tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(probabilities(model, images), expected, atol=1e-4)
    import_keras(tmp_path / "a.keras", tmp_path / "b.ckpt")
    np.testing.assert_allclose(load_classifier(tmp_path / "b.ckpt").predict(images).probabilities, expected, atol=1e-4)


def test_models_of_keras_before_2_4_are_read(tmp_path: Path) -> None:
    model = random_weights(build("conv", "pool", "conv", "flatten", "dense", functional=False))
    model.save(tmp_path / "new.h5")

    def rewrite(name: str, change: Any) -> Path:
        shutil.copy(tmp_path / "new.h5", tmp_path / name)
        with h5py.File(tmp_path / name, "r+") as file:
            file.attrs["model_config"] = json.dumps(change(json.loads(file.attrs["model_config"])))
        return tmp_path / name

    def as_list(config: dict[str, Any]) -> dict[str, Any]:
        layers = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
        return {"class_name": "Sequential", "config": layers}

    for file in (rewrite("2.2.h5", as_list), rewrite("2.3.h5", lambda config: {**config, "class_name": "Model"})):
        assert import_keras(file, file.with_suffix(".ckpt")).startswith("name conv, padding valid, pooling max")


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
