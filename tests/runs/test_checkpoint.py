import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import mnist_cnn
from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import check_resumable, dataset_of, read_checkpoint
from tests.conftest import one_line
from tests.faults import hostile

MODEL = {"name": "conv", "channels": [2, 3]}
CONFIG = {"optimizer.lr": 0.001, "trainer.max_epochs": 5, "trainer.accelerator": "cpu", "model.channels": [2, 3]}


@pytest.fixture
def classifier() -> DigitClassifier:
    return DigitClassifier(MODEL)


@pytest.fixture
def checkpoint(classifier: DigitClassifier) -> dict[str, Any]:
    return {
        "state_dict": classifier.state_dict(),
        "hyper_parameters": {"model": MODEL},
        "callbacks": {},
        "config": CONFIG,
        "MNISTDataModule": {"dataset": "mnist"},
    }


@pytest.fixture
def file(checkpoint: dict[str, Any], tmp_path: Path) -> Path:
    return write(tmp_path / "file.ckpt", checkpoint)


def write(file: Path, checkpoint: Any) -> Path:
    file.write_bytes(hostile.torch_file(checkpoint))
    return file


def same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_it_loads_the_weights_ready_to_predict(classifier: DigitClassifier, file: Path, sample: Dataset) -> None:
    loaded = load_classifier(file)
    assert not loaded.training
    assert same_weights(loaded.net, classifier.net)
    assert loaded.hparams["model"] == MODEL
    images = sample.test.images[:9]
    torch.testing.assert_close(loaded.predict(images), classifier.predict(images))


def test_a_run_directory_stands_for_its_last_checkpoint(classifier: DigitClassifier, file: Path) -> None:
    last = file.parent / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    file.rename(last)
    assert same_weights(load_classifier(file.parent / "run").net, classifier.net)


def test_weights_of_bfloat16_are_loaded_in_float32(
    classifier: DigitClassifier, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    halved = {name: value.bfloat16() for name, value in checkpoint["state_dict"].items()}
    loaded = load_classifier(write(tmp_path / "half.ckpt", checkpoint | {"state_dict": halved}))
    assert {weights.dtype for weights in loaded.parameters()} == {torch.float32}
    assert same_weights(loaded.net, classifier.net.bfloat16().float())


def test_lightning_and_torch_read_ours(classifier: DigitClassifier, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "file.ckpt"
    file.write_bytes(archive.to_bytes(checkpoint | {"pytorch-lightning_version": pl.__version__}))
    assert torch.load(file, weights_only=True)["hyper_parameters"] == {"model": MODEL}
    theirs = DigitClassifier.load_from_checkpoint(file, weights_only=True)
    assert same_weights(theirs.net, classifier.net)


@pytest.mark.filterwarnings("ignore:.*val_dataloader", "ignore:.*does not have many workers", "ignore:.*LeafSpec")
def test_we_read_what_a_stock_trainer_writes(classifier: DigitClassifier, sample: Dataset, tmp_path: Path) -> None:
    batches = DataLoader(TensorDataset(*(part[:64] for part in sample.train)), batch_size=32, num_workers=0)
    trainer = pl.Trainer(
        max_steps=2, accelerator="cpu", logger=False, callbacks=[ModelCheckpoint(tmp_path, "stock")],
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(classifier, batches)
    assert same_weights(load_classifier(tmp_path / "stock.ckpt").net, classifier.net)


def test_hostile_files_run_nothing_and_load_nothing(
    classifier: DigitClassifier, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    file, proof, loaded, refused = tmp_path / "hostile.ckpt", tmp_path / "executed", [], 0
    for kind, content in hostile.hostile(archive.to_bytes(checkpoint), proof):
        file.write_bytes(content)
        try:
            load_classifier(file)
            loaded.append(kind)
        except InputError as error:
            one_line(f"error: {error}\n")
            refused += 1
        assert not proof.exists(), kind
    assert loaded == ["a second pickle in capitals"]  # a record that nobody reads
    assert refused >= 40


def test_the_proof_would_show(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    """A careless reader runs the code in the same file."""
    kind, content = next(hostile.hostile(archive.to_bytes(checkpoint), tmp_path / "executed"))
    (tmp_path / "hostile.ckpt").write_bytes(content)
    torch.load(tmp_path / "hostile.ckpt", weights_only=False)
    assert (tmp_path / "executed").is_dir(), kind


@pytest.mark.parametrize("load", [load_classifier, DigitClassifier.load_from_checkpoint], ids=["ours", "Lightning's"])
def test_a_function_that_hyper_parameters_name_is_not_imported(
    load: Callable[[Path], Any], checkpoint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning imported and called it before 2.6.6 (CVE-2026-58659)."""
    (tmp_path / "stranger.py").write_text(f"import os; os.mkdir({str(tmp_path / 'executed')!r})")
    monkeypatch.syspath_prepend(tmp_path)
    named = {**checkpoint["hyper_parameters"], "_instantiator": "stranger.call"}
    version = {"pytorch-lightning_version": pl.__version__}
    file = write(tmp_path / "file.ckpt", checkpoint | version | {"hyper_parameters": named})
    with pytest.raises(ValueError, match="not a checkpoint of a DigitClassifier|blocked to prevent arbitrary code"):
        load(file)
    assert not (tmp_path / "executed").exists()
    importlib.import_module("stranger")  # it would have shown
    assert (tmp_path / "executed").is_dir()
    del sys.modules["stranger"]


def test_the_package_has_one_way_to_load_and_it_runs_no_code() -> None:
    source = "\n".join(file.read_text() for file in Path(mnist_cnn.__file__).parent.rglob("*.py"))
    (load,) = re.findall(r"\btorch\.load\(.*", source)
    assert "weights_only=True" in load
    assert not re.search(r"weights_only=(False|None)|import pickle\b|safe_globals|jit\.load", source)


def network(**model: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda good: good | {"hyper_parameters": {"model": model}}


def weight(value: Any, name: str = "net.conv1.weight") -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda good: good | {"state_dict": good["state_dict"] | {name: value}}


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another program's": (lambda good: {"model": {"weight": torch.ones(2)}}, "not a checkpoint of a DigitClassifier"),
    "a bare state dict": (lambda good: good["state_dict"], "holds only weights"),
    "a list": (lambda good: [1, 2], "not a checkpoint of a DigitClassifier"),
    "weights in a list": (lambda good: good | {"state_dict": [1]}, "not a checkpoint of a DigitClassifier"),
    "no network": (lambda good: good | {"hyper_parameters": {}}, "not a checkpoint of a DigitClassifier"),
    "a network in a list": (lambda good: good | {"hyper_parameters": {"model": [1]}}, "not a checkpoint of"),
    "an instantiator": (
        lambda good: good | {"hyper_parameters": {"model": MODEL, "_instantiator": "os.system"}},
        "not a checkpoint of a DigitClassifier",
    ),
    "a number for a name": (lambda good: good | {"state_dict": {3: 4}}, "Missing key.*conv1.weight"),
    "an unknown network": (network(name="os.system"), "os.system"),
    "a number for an option": (lambda good: good | {"hyper_parameters": {"model": {3: 4}}}, "does not hold the netw"),
    "a list for a network": (network(name=["conv"] * 9), "does not hold the network"),
    "an unknown option": (network(_target_="x"), "_target_"),
    "a tensor for an option": (network(channels=torch.ones(2, 2)), "does not hold the network"),
    "an enormous network": (network(name="dense", hidden=10**9), "does not hold the network"),
    "another padding": (network(padding="same", channels=[2, 3]), "size mismatch for dense.weight"),
    "a missing weight": (weight(None), "conv1.weight"),
    "a weight of another shape": (weight(torch.ones(3)), "size mismatch for conv1.weight"),
    "a weight of integers": (weight(torch.ones(2, 1, 3, 3).long()), "conv1.weight"),
    "a weight too many": (weight(torch.ones(1), "net.conv9.bias"), "Unexpected key.*conv9.bias"),
    "NaN": (weight(torch.full((2, 1, 3, 3), torch.nan)), "NaN or infinite"),
    "one infinity": (weight(torch.tensor([1, 2, torch.inf]), "net.conv2.bias"), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_checkpoint_of_something_else_is_refused(kind: str, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    make, message = WRONG[kind]
    with pytest.raises(InputError, match=message) as refused:
        load_classifier(write(tmp_path / "wrong.ckpt", make(checkpoint)))
    assert len(one_line(f"error: {refused.value}\n")) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("name", ["digits.keras", "digits.weights.h5"])
def test_a_keras_file_is_to_be_imported(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=f"python -m mnist_cnn.keras import .*{name}"):
        load_classifier(tmp_path / name)


def test_it_knows_the_data_set(checkpoint: dict[str, Any]) -> None:
    assert dataset_of(checkpoint) == "mnist"
    assert dataset_of({}) is None
    assert dataset_of({"MNISTDataModule": {"dataset": torch.ones(3)}}) is None


SCHEDULER = {"scheduler._target_": "OneCycleLR"}
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("then", "now"),
    [({}, {}), ({}, {"trainer.max_epochs": 9}), ({}, {"trainer.accelerator": "gpu"}), (SCHEDULER, SCHEDULER)],
)
def test_the_same_settings_resume(then: Any, now: Any, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    check_resumable(write(tmp_path / "file.ckpt", checkpoint | {"config": CONFIG | then}), CONFIG | now, "mnist")


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ({}, {"optimizer.lr": 0.1}, r"file.ckpt cannot be resumed: it was trained with optimizer.lr=0.001, now it is "
         "0.1: set the old value, another hydra.run.dir, or resume=never$"),
        ({}, {"trainer.max_epochs": 4}, "trainer.max_epochs=5, now it is 4"),
        (SCHEDULER, {**SCHEDULER, "trainer.max_epochs": 9}, "trainer.max_epochs=5, now it is 9"),
        ({}, {"model.channels": [2, 4]}, r"model.channels=\[2, 3\], now it is \[2, 4\]"),
        ({}, {"optimizer.rho": 0.5}, "trained with optimizer.rho=None, now it is 0.5"),
        ({"optimizer.rho": 0.5}, {}, "optimizer.rho=0.5, now it is None"),
        ({3: 0.5}, {}, "trained with 3=0.5"),
        ({"optimizer.lr": torch.ones(3)}, {}, "the settings of its training are missing or damaged"),
        ({"trainer.max_epochs": "5"}, {}, "the settings of its training are missing or damaged"),
        ({"model.channels": ITSELF}, {"model.channels": ITSELF}, "the settings of its training are missing or damaged"),
    ],
)  # fmt: skip
def test_other_settings_do_not_resume(
    then: Any, now: Any, message: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path / "file.ckpt", checkpoint | {"config": CONFIG | then})
    with pytest.raises(InputError, match=message) as refused:
        check_resumable(file, CONFIG | now, "mnist")
    one_line(f"error: {refused.value}\n")


def test_another_data_set_does_not_resume(file: Path) -> None:
    with pytest.raises(InputError, match="trained with dataset=mnist, now it is mnist-sample"):
        check_resumable(file, CONFIG, "mnist-sample")


@pytest.mark.parametrize("config", [None, 3, []])
def test_a_checkpoint_without_settings_does_not_resume(config: Any, checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the settings of its training are missing or damaged"):
        check_resumable(write(tmp_path / "file.ckpt", checkpoint | {"config": config}), CONFIG, "mnist")


def test_it_reads_all_of_a_checkpoint(checkpoint: dict[str, Any], file: Path) -> None:
    assert str(read_checkpoint(file)) == str(checkpoint)


def test_a_damaged_checkpoint_is_refused_with_the_way_to_start_over(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"last.ckpt is damaged.*; resume=never starts over"):
        check_resumable(tmp_path / "last.ckpt", {}, "mnist")
