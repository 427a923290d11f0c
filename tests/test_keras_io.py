"""Keras's own files, read without Keras; files of ours, read by Keras; and files that are refused."""

import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest
import torch
from conftest import Answer, Trained, one_line
from keras import layers

from mnist_cnn import DigitClassifier, keras_io, load_classifier, predict
from mnist_cnn.errors import InputError
from mnist_cnn.keras_io import export_keras, import_keras
from mnist_cnn.sources import Dataset

NOTEBOOK = ("conv", "pool", "conv", "pool", "conv", "flatten", "dense")
CHANNELS = (5, 7, 11)


def build(
    *parts: str | layers.Layer,
    padding: str = "valid",
    head: str | None = "softmax",
    functional: bool = True,
    names: bool = False,
    shape: tuple[int, ...] = (28, 28, 1),
    **convolution: Any,
) -> keras.Model:
    """A model of the notebook's kind, with filters 5, 7, 11 or what `convolution` says."""
    filters = iter(CHANNELS)
    options = {"kernel_size": 3, "activation": "relu", "padding": padding, **convolution}
    makers: dict[str, Callable[..., layers.Layer]] = {
        "conv": lambda **name: layers.Conv2D(next(filters), **options, **name),
        "pool": lambda **name: layers.MaxPooling2D(2, **name),
        "flatten": layers.Flatten,
        "dense": lambda **name: layers.Dense(10, activation=head, **name),
    }
    chain = [
        makers[part](**({"name": f"z{99 - i}"} if names else {})) if isinstance(part, str) else part
        for i, part in enumerate(parts or NOTEBOOK)
    ]
    if not functional:
        return keras.Sequential([keras.Input(shape), *chain])
    inputs = x = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def random_weights(model: keras.Model) -> keras.Model:
    """Biases too: a model fresh from Keras would not show one that was lost."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(0, 0.1, weights.shape) for weights in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file of the notebook's kind, with weights of float32."""
    file = tmp_path_factory.mktemp("keras") / "digits.keras"
    random_weights(build()).save(file)
    return file


def probabilities(model: keras.Model, images: torch.Tensor) -> np.ndarray:
    return model.predict(images.numpy().reshape(-1, 28, 28, 1) / np.float32(255), verbose=0)


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
    assert said == f"name conv, padding {options.get('padding', 'valid')}, pooling max, channels [5, 7, 11]"
    images = sample.test.images[:200]
    ours = load_classifier(out).predict(images).probabilities.numpy()
    np.testing.assert_allclose(ours, probabilities(model, images), atol=1e-6)


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
    import_keras(tmp_path / "digits.keras", tmp_path / "digits.ckpt")
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
    expected = f"{out}: name conv, padding valid, pooling max, channels [5, 7, 11]\n"
    assert answer == Answer(0, expected, "")
    assert cli(predict.main, out, Path(__file__).parent / "seven.jpg").status == 0
    assert DigitClassifier.load_from_checkpoint(out).net.conv3.out_channels == 11
    again = cli(keras_io.main, "import", digits, out)
    assert (again.status, one_line(again.err)) == (2, f"error: {out} is there already: give --force to overwrite it\n")
    assert cli(keras_io.main, "import", digits, out, "--force").status == 0


def test_keras_itself_is_not_needed(digits: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['keras'] = None; from mnist_cnn.keras_io import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "import", str(digits), str(tmp_path / "a.ckpt")]
    assert subprocess.run(command, capture_output=True, check=True).stdout


def test_without_h5py_the_line_says_what_to_install(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    answer = cli(keras_io.main, "import", digits, tmp_path / "a.ckpt")
    assert (answer.status, "pip install 'mnist_cnn[keras]'" in one_line(answer.err)) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "{digits}", "{folder}/a.pt"], "give a name that ends in .ckpt"),
        (["export", "{folder}/a.ckpt", "{folder}/a.h5"], "give a name that ends in .keras or .weights.h5"),
        (["import", "{folder}/none.keras", "{folder}/a.ckpt"], "there is no file"),
        (["import", "{folder}", "{folder}/a.ckpt"], "there is no file"),
        (["export", "{folder}/none", "{folder}/a.keras"], "there is no checkpoint"),
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


def custom(base: type) -> layers.Layer:
    return keras.saving.register_keras_serializable("mine")(type("Mine", (base,), {}))()


def branching() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    features = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, [features, layers.Dense(10)(features)])


def skipping() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x + x)))


OTHERS: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "larger kernels": (
        lambda: build(kernel_size=5, padding="same"),
        r"conv2d\w* \(Conv2D\) has kernel_size=\[5, 5\] where \[3, 3\]",
    ),
    "tanh": (lambda: build(activation="tanh"), r"has activation=tanh where relu is needed"),
    "no bias": (lambda: build(use_bias=False), r"has use_bias=False where True"),
    "dilation": (lambda: build(dilation_rate=2, padding="same"), r"has dilation_rate=\[2, 2\] where \[1, 1\]"),
    "a larger pool": (
        lambda: build("conv", layers.MaxPooling2D(3), *NOTEBOOK[2:], padding="same"),
        r"has pool_size=\[3, 3\] where \[2, 2\]",
    ),
    "dropout": (
        lambda: build(*NOTEBOOK[:-1], layers.Dropout(0.5), "dense"),
        r"dropout\w* \(Dropout\) stands where a Dense is needed",
    ),
    "batch normalisation": (
        lambda: build("conv", layers.BatchNormalization(), *NOTEBOOK[1:]),
        r"\(BatchNormalization\) stands where a MaxPooling2D is needed",
    ),
    "a layer too many": (lambda: build(*NOTEBOOK, layers.Dense(10)), r"stands where the network should end"),
    "a layer missing": (lambda: build(*NOTEBOOK[:-1]), r"it ends where a Dense is needed"),
    "twelve classes": (lambda: build(*NOTEBOOK[:-1], layers.Dense(12)), r"has units=12 where 10 is needed"),
    "colour": (lambda: build(shape=(28, 28, 3)), r"its input has shape \[None, 28, 28, 3\] where \[None, 28, 28, 1\]"),
    "other sizes": (lambda: build(shape=(29, 29, 1)), r"its input has shape \[None, 29, 29, 1\]"),
    "other sizes, sequential": (lambda: build(shape=(29, 29, 1), functional=False), r"its input has shape"),
    "two outputs": (branching, "its output is not its last layer"),
    "a sum": (skipping, r"Add|no chain"),
    "Lambda": (lambda: build(*NOTEBOOK, layers.Lambda(lambda x: x + 1)), r"\(Lambda\) holds code, which is never run"),
    "a custom layer": (
        lambda: build(*NOTEBOOK, custom(layers.Softmax)),
        r"\(Mine\) is a custom class, whose code is never run",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_architecture_is_refused_by_its_first_difference(kind: str, tmp_path: Path) -> None:
    make, message = OTHERS[kind]
    make().save(tmp_path / "other.keras")
    refuse(tmp_path / "other.keras", message)


def test_another_architecture_is_refused_in_the_older_form_too(tmp_path: Path) -> None:
    build(activation="tanh", functional=False).save(tmp_path / "other.h5")
    refuse(tmp_path / "other.h5", "has activation=tanh where relu is needed")


def refuse(file: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        import_keras(file, file.parent / "a.ckpt")
    assert str(refused.value).startswith(str(file))
    one_line(f"error: {refused.value}\n")
    assert not (file.parent / "a.ckpt").exists()


def rezip(digits: Path, out: Path, **members: bytes | None) -> None:
    """Copy a .keras with other members: config_json=..., weights=...; None leaves one out."""
    names = {"config_json": "config.json", "weights": "model.weights.h5"}
    with zipfile.ZipFile(digits) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = {names[key]: value for key, value in members.items()}.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


def edited_config(digits: Path, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    with zipfile.ZipFile(digits) as archive:
        config = json.loads(archive.read("config.json"))
    return json.dumps(edit(config) or config).encode()


def edited_weights(digits: Path, edit: Callable[[h5py.File], Any]) -> bytes:
    with zipfile.ZipFile(digits) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        edit(file)
    return content.getvalue()


def nested(depth: int) -> bytes:
    return b'{"config": ' + b"[" * depth + b"]" * depth + b"}"


def first(config: dict[str, Any], **changes: Any) -> None:
    """Change settings of the first convolution."""
    config["config"]["layers"][1]["config"].update(changes)


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another module's class": (
        lambda config: config["config"]["layers"][1].update(module="os"),
        "is a custom class, whose code is never run",
    ),
    "a subclassed model": (
        lambda config: config.update(module="mine", class_name="Net"),
        "the model is a custom class",
    ),
    "a custom activation": (
        lambda config: first(config, activation={"module": "builtins", "class_name": "function", "config": "system"}),
        r"has activation=\{'module': 'builtins'",
    ),
    "a list": (lambda config: [1], "is damaged, or no Keras file"),
    "no layers": (lambda config: config["config"].update(layers=[]), "its output is not its last layer"),
    "filters that are none": (lambda config: first(config, filters="many"), "has filters=many where 1 is needed"),
    "filters beyond number": (lambda config: first(config, filters=10**12), "from 1 to 4096"),
    "a padding that is none": (lambda config: first(config, padding=["same"]), r"has padding=\['same'\] where valid"),
    "a shape that is none": (
        lambda config: config["config"]["layers"][0]["config"].update(batch_shape=7),
        "its input has shape 7",
    ),
    "a name of control characters": (lambda config: first(config, name="\x1b[2J"), "it has a name that is none"),
    "a name without end": (lambda config: first(config, name="n" * 10_000), "it has a name that is none"),
    "other filters than the weights": (
        lambda config: first(config, filters=6),
        r"its layer conv2d has weights of shapes \[\(3, 3, 1, 5\), \(5,\)\] where \[\(3, 3, 1, 6\), \(6,\)\]",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_crafted_configuration_is_refused(kind: str, digits: Path, tmp_path: Path) -> None:
    edit, message = CONFIGS[kind]
    rezip(digits, tmp_path / "crafted.keras", config_json=edited_config(digits, edit))
    refuse(tmp_path / "crafted.keras", message)


def replace(file: h5py.File, path: str, **dataset: Any) -> None:
    del file[path]
    file.create_dataset(path, **dataset)


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
    "text": (lambda file: replace(file, BIAS, data="seven"), "is damaged, or no Keras file"),
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
        "its weights have more than 536,870,912 bytes",
    ),
    "no layers": (lambda file: file.__delitem__("layers"), "it has no _layer_checkpoint_dependencies"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_crafted_weights_are_refused(kind: str, digits: Path, tmp_path: Path) -> None:
    edit, message = WEIGHTS[kind]
    rezip(digits, tmp_path / "crafted.keras", weights=edited_weights(digits, edit))
    refuse(tmp_path / "crafted.keras", message)
    (tmp_path / "crafted.weights.h5").write_bytes(edited_weights(digits, edit))
    with pytest.raises(InputError):
        import_keras(tmp_path / "crafted.weights.h5", tmp_path / "b.ckpt")


ARCHIVES: dict[str, tuple[dict[str, bytes | None], str]] = {
    "no configuration": ({"config_json": None}, "it holds 0 files config.json where one is needed"),
    "no weights": ({"weights": None}, "it holds 0 files model.weights.h5"),
    "a configuration that is a bomb": ({"config_json": bytes(2**23)}, "its config.json has 8,388,608 bytes, more than"),
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
        for _ in range(2**9 + 1):
            member.write(bytes(2**20))
    assert (tmp_path / "bomb.keras").stat().st_size < 2**20
    refuse(tmp_path / "bomb.keras", r"its model.weights.h5 has 537,919,488 bytes, more than 536,870,912")


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


def damaged_files(digits: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(digits) as archive:
        weights = archive.read("model.weights.h5")
    generator = random.Random(0)
    for number in range(300):
        yield damaged(digits.read_bytes() if number % 2 else weights, generator)


def test_of_300_damaged_files_none_is_more_than_a_line(digits: Path, tmp_path: Path) -> None:
    file, refused = tmp_path / "damaged.keras", 0
    for content in damaged_files(digits):
        file.write_bytes(content)
        try:
            import_keras(file, tmp_path / "a.ckpt", force=True)
        except InputError:
            refused += 1
    assert refused > 100
