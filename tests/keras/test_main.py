"""Keras's own files, read without Keras, and files of ours, read by Keras."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers

from mnist_cnn import DigitClassifier, keras_io, load_classifier, predict
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.keras.__main__ import export_keras, import_keras
from tests.conftest import Answer, Trained, one_line
from tests.keras.models import NOTEBOOK, build, probabilities, random_weights


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "same"},
        {"functional": False},
        {"names": True},
        {"names": True, "functional": False, "padding": "same"},
    ],
    ids=str,
)
def test_keras_files_of_every_form_say_what_keras_says(
    options: dict[str, Any], ending: str, sample: Dataset, tmp_path: Path
) -> None:
    model = random_weights(build(**options))
    file, out = tmp_path / f"digits{ending}", tmp_path / "digits.ckpt"
    model.save_weights(file) if ending == ".weights.h5" else model.save(file)
    said = import_keras(file, out)
    padding = options.get("padding", "valid")
    options_said = (
        f"name conv, padding {padding}, pooling max, channels [5, 7, 11], {model.count_params():,} parameters"
    )
    assert said.split("; ")[0] == options_said
    assert ("weights alone" in said) == (ending == ".weights.h5")
    images = sample.test.images[:200]
    ours = load_classifier(out).predict(images).probabilities.numpy()
    np.testing.assert_allclose(ours, probabilities(model, images), atol=1e-6)


def test_weights_as_keras_2_keeps_them_are_read(digits: Path, tmp_path: Path) -> None:
    import_keras(digits, tmp_path / "digits.ckpt")
    expected = load_classifier(tmp_path / "digits.ckpt").net.state_dict()
    model = keras.models.load_model(digits)
    model.save_weights(tmp_path / "folder.weights.h5")
    with h5py.File(tmp_path / "folder.weights.h5", "r+") as file:  # Keras 2.13 to 2.15
        file.move("layers", "_layer_checkpoint_dependencies")
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as whole, h5py.File(tmp_path / "weights.h5", "w") as file:  # save_weights
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
        file.attrs["layer_names"] = whole["model_weights"].attrs["layer_names"]
    for name in ("folder.weights.h5", "weights.h5"):
        import_keras(tmp_path / name, tmp_path / "a.ckpt", force=True)
        given = load_classifier(tmp_path / "a.ckpt").net.state_dict()
        assert all(torch.equal(given[key], expected[key]) for key in expected)


@pytest.mark.parametrize("model", [{"name": "dense", "hidden": 20}, {"pooling": "none", "padding": "same"}], ids=str)
def test_weights_alone_tell_the_network_by_their_shapes(model: dict[str, Any], tmp_path: Path) -> None:
    classifier = DigitClassifier({**model, "channels": [2, 3, 4]} if "pooling" in model else model)
    torch.save(
        {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)}, tmp_path / "a.ckpt"
    )
    export_keras(tmp_path / "a.ckpt", tmp_path / "a.weights.h5")
    import_keras(tmp_path / "a.weights.h5", tmp_path / "b.ckpt")
    back = load_classifier(tmp_path / "b.ckpt")
    assert model.items() <= back.hparams["model"].items()
    assert all(torch.equal(a, b) for a, b in zip(back.net.parameters(), classifier.net.parameters(), strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_network_that_keras_computes_in_less_precision_is_said(policy: str, digits: Path, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        build().save(tmp_path / "mixed.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert import_keras(tmp_path / "mixed.keras", tmp_path / "a.ckpt").endswith(f"converted from {policy} to float32")


def test_dropout_is_left_out(sample: Dataset, tmp_path: Path) -> None:
    model = random_weights(build(*NOTEBOOK[:-1], layers.Dropout(0.5), "dense"))
    model.save(tmp_path / "digits.keras")
    assert import_keras(tmp_path / "digits.keras", tmp_path / "a.ckpt").endswith("its Dropout is left out")
    images = sample.test.images[:100]
    ours = load_classifier(tmp_path / "a.ckpt").predict(images).probabilities.numpy()
    np.testing.assert_allclose(ours, probabilities(model, images), atol=1e-6)


def test_a_subclassed_model_is_refused_as_such(tmp_path: Path) -> None:
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(10)

        def call(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.dense(layers.Flatten()(inputs))

    model = Subclassed()
    model(np.zeros((1, 28, 28, 1)))
    model.save(tmp_path / "a.keras")
    with pytest.raises(InputError, match="the model is a custom class, whose code is never run"):
        import_keras(tmp_path / "a.keras", tmp_path / "a.ckpt")


@pytest.mark.parametrize("head", ["linear", "separate softmax", "separate activations"])
def test_a_head_without_softmax_or_activations_apart_are_the_same_network(
    head: str, sample: Dataset, tmp_path: Path
) -> None:
    if head == "separate activations":
        convolution = ("conv", layers.ReLU())
        parts = (*convolution, "pool", *convolution[:1], layers.Activation("relu"), "pool", "conv", layers.ReLU())
        model = build(*parts, "flatten", "dense", layers.Activation("softmax"), head=None, activation=None)
    else:
        extra = [layers.Softmax()] if head == "separate softmax" else []
        model = build(*NOTEBOOK, *extra, head="linear")
    random_weights(model).save(tmp_path / "digits.keras")
    said = import_keras(tmp_path / "digits.keras", tmp_path / "digits.ckpt")
    assert ("ends without softmax" in said) == (head == "linear")
    images = sample.test.images[:100]
    ours, theirs = load_classifier(tmp_path / "digits.ckpt"), probabilities(model, images)
    with torch.inference_mode():
        logits = ours(images)
    given = logits if head == "linear" else logits.softmax(1)
    np.testing.assert_allclose(given.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_weights_come_back_to_keras_to_the_bit(padding: str, ending: str, tmp_path: Path) -> None:
    model, back = random_weights(build(padding=padding)), tmp_path / f"back{ending}"
    model.save(tmp_path / "digits.keras")
    import_keras(tmp_path / "digits.keras", tmp_path / "digits.ckpt")
    export_keras(tmp_path / "digits.ckpt", back)
    if ending == ".keras":
        loaded = keras.models.load_model(back)
    else:
        loaded = build(padding=padding)
        loaded.load_weights(back)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    "model",
    [
        {"name": "dense", "hidden": 20},
        {"pooling": "average", "padding": "same"},
        {"pooling": "stride", "channels": [3, 4]},
        {"pooling": "stride", "padding": "same"},
        {"pooling": "none", "channels": [3]},
        {"channels": [2, 3, 4, 5], "padding": "same"},
    ],
    ids=str,
)
def test_every_network_can_be_exported_and_comes_back(model: dict[str, Any], sample: Dataset, tmp_path: Path) -> None:
    classifier = DigitClassifier(model)
    checkpoint, exported = tmp_path / "a.ckpt", tmp_path / "a.keras"
    torch.save({"state_dict": classifier.state_dict(), "hyper_parameters": {"model": model}}, checkpoint)
    export_keras(checkpoint, exported)
    images = sample.test.images[:100]
    ours = classifier.eval().predict(images).probabilities.numpy()
    np.testing.assert_allclose(probabilities(keras.models.load_model(exported), images), ours, atol=1e-6)
    import_keras(exported, tmp_path / "back.ckpt")
    back = load_classifier(tmp_path / "back.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(back.net.parameters(), classifier.net.parameters(), strict=True))


def test_a_trained_run_says_the_same_in_keras(trained: Trained, sample: Dataset, tmp_path: Path) -> None:
    export_keras(trained.path, tmp_path / "ours.keras")
    model = keras.models.load_model(tmp_path / "ours.keras")
    assert model.count_params() == 104_202
    said = probabilities(model, sample.test.images).argmax(1)
    assert (said == sample.test.labels.numpy()).mean() == pytest.approx(trained.result["test/acc"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_weights_of_another_precision_are_converted_and_it_is_said(dtype: str, ending: str, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(dtype)
    try:
        model = random_weights(build())
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / f"digits{ending}")
    assert import_keras(tmp_path / f"digits{ending}", tmp_path / "a.ckpt").endswith(f"from {dtype} to float32")
    kernel = load_classifier(tmp_path / "a.ckpt").net.conv1.weight
    theirs = keras.ops.cast(model.get_layer(index=1).kernel, "float32").detach()
    assert torch.equal(kernel, torch.einsum("hwio->oihw", theirs))


def test_an_imported_file_is_a_checkpoint_for_every_command(
    digits: Path, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    out = tmp_path / "digits.ckpt"
    answer = cli(keras_io.main, "import", digits, out)
    expected = f"{out}: name conv, padding valid, pooling max, channels [5, 7, 11], 2,076 parameters\n"
    assert answer == Answer(0, expected, "")
    assert cli(predict.main, out, Path(__file__).parent.parent / "seven.jpg").status == 0
    assert DigitClassifier.load_from_checkpoint(out).net.conv3.out_channels == 11
    again = cli(keras_io.main, "import", digits, out)
    assert (again.status, one_line(again.err)) == (2, f"error: {out} is there already: give --force to overwrite it\n")
    assert cli(keras_io.main, "import", digits, out, "--force").status == 0


def test_keras_itself_is_not_needed(digits: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['keras'] = None; from mnist_cnn.keras.__main__ import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "import", str(digits), str(tmp_path / "a.ckpt")]
    assert subprocess.run(command, capture_output=True, check=True).stdout


def test_without_h5py_the_line_says_what_to_install(
    digits: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "h5py")
    for arguments in (("import", digits, tmp_path / "a.ckpt"), ("export", trained.path, tmp_path / "a.keras")):
        answer = cli(keras_io.main, *arguments)
        assert (answer.status, "pip install 'mnist_cnn[keras]'" in one_line(answer.err)) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "{digits}", "{folder}/a.pt"], "give a name that ends in .ckpt"),
        (["export", "{folder}/a.ckpt", "{folder}/a.h5"], "give a name that ends in .keras or .weights.h5"),
        (["import", "{folder}/none.keras", "{folder}/a.ckpt"], "cannot be read: No such file"),
        (["import", "{folder}", "{folder}/a.ckpt"], "is refused: it is no file"),
        (["import", "/dev/zero", "{folder}/a.ckpt"], "is refused: it is no file"),
        (["import", "{folder}/" + "n" * 300, "{folder}/a.ckpt"], "cannot be read: File name too long"),
        (["export", "{folder}/" + "n" * 300, "{folder}/a.keras"], "cannot be read: File name too long"),
        (["import", "{digits}", "{folder}/" + "n" * 300 + ".ckpt"], "cannot be written: File name too long"),
        (["export", "{folder}/none", "{folder}/a.keras"], "there is no checkpoint"),
        (["export", "{digits}", "{folder}/a.keras"], "is Keras's: give what python -m mnist_cnn.keras import"),
        (["import", "{digits}", "/proc/none/a.ckpt"], "/proc/none/a.ckpt cannot be written"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(
    arguments: list[str], message: str, digits: Path, tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    answer = cli(keras_io.main, *[part.format(digits=digits, folder=tmp_path) for part in arguments])
    assert answer.status == 2
    assert message in one_line(answer.err)
    assert not list(tmp_path.iterdir())
