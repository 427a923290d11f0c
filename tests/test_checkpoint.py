import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Trained, one_line

from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.checkpoint import check_resumable, read_checkpoint
from mnist_cnn.errors import InputError
from mnist_cnn.runs import Run
from mnist_cnn.sources import Dataset


def test_a_run_loads_ready_to_predict(trained: Trained, sample: Dataset) -> None:
    classifier = load_classifier(trained.path)
    assert not classifier.training
    accuracy = (classifier.predict(sample.test.images).digits == sample.test.labels).float().mean()
    assert accuracy.item() == pytest.approx(trained.result["test/acc"])


def test_lightning_loads_it_too(trained: Trained) -> None:
    ours = load_classifier(trained.path)
    theirs = DigitClassifier.load_from_checkpoint(Run(trained.path).last, weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.net.parameters(), theirs.net.parameters(), strict=True))


class Hostile:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def change(checkpoint: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return checkpoint | {"state_dict": checkpoint["state_dict"] | changes}


BAD = {
    "empty": (lambda good, proof: b"", "damaged"),
    "truncated": (lambda good, proof: good[: len(good) // 2], "damaged"),
    "text": (lambda good, proof: b"hello\n", "damaged"),
    "plain pickle that runs code": (
        lambda good, proof: pickle.dumps(Hostile(proof), protocol=2),
        "asks to call posix.mkdir",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_checkpoint_is_refused(kind: str, trained: Trained, tmp_path: Path) -> None:
    file, proof, (make, message) = tmp_path / "bad.ckpt", tmp_path / "executed", BAD[kind]
    file.write_bytes(make(Run(trained.path).last.read_bytes(), proof))
    with pytest.raises(InputError, match=message):
        load_classifier(file)
    assert not proof.exists()


GIGANTIC = {"hyper_parameters": {"model": {"name": "conv", "pooling": "none", "channels": [4096] * 5}}}
GIGANTIC = {"hyper_parameters": {"model": {"name": "conv", "pooling": "none", "channels": [4096] * 5}}}
WEIGHT = "net.conv1.weight"
WRONG = {
    "another program's": (lambda good, proof: {"model": {"weight": torch.ones(2)}}, "has no hyper_parameters"),
    "a bare state dict": (lambda good, proof: good["state_dict"], "has no hyper_parameters"),
    "a list": (lambda good, proof: [1, 2], "but a list"),
    "no network named": (lambda good, proof: good | {"hyper_parameters": {}}, "names no network"),
    "a name that is none": (lambda good, proof: good | {"state_dict": {3: 4}}, "conv1.weight is missing"),
    "an unknown network": (
        lambda good, proof: good | {"hyper_parameters": {"model": {"name": "os.system"}}},
        "not known",
    ),
    "an unknown option": (lambda good, proof: good | {"hyper_parameters": {"model": {"_target_": "x"}}}, "not known"),
    "an enormous network": (
        lambda good, proof: good | {"hyper_parameters": {"model": {"name": "dense", "hidden": 10**9}}},
        "from 1 to 4096",
    ),
    "another padding": (
        lambda good, proof: good | {"hyper_parameters": {"model": {"padding": "same"}}},
        r"net.*dense.weight is float32 \(10, 1152\) where float32 \(10, 6272\)",
    ),
    "a missing weight": (lambda good, proof: change(good, **{WEIGHT: None}), "conv1.weight is missing"),
    "a weight of another shape": (
        lambda good, proof: change(good, **{WEIGHT: torch.ones(3)}),
        r"is float32 \(3,\) where",
    ),
    "a weight of another type": (
        lambda good, proof: change(good, **{WEIGHT: good["state_dict"][WEIGHT].half()}),
        "is float16",
    ),
    "a weight that is sparse": (
        lambda good, proof: change(good, **{WEIGHT: good["state_dict"][WEIGHT].to_sparse()}),
        "is a tensor of layout",
    ),
    "a weight without its numbers": (
        lambda good, proof: change(good, **{WEIGHT: torch.ones(1).expand(32, 1, 3, 3)}),
        "without its numbers",
    ),
    "a gigantic network": (lambda good, proof: good | GIGANTIC, "does not fit its network"),
    "a weight too many": (lambda good, proof: change(good, **{"net.conv9.bias": torch.ones(1)}), "conv9.bias"),
    "code in hyper-parameters": (
        lambda good, proof: good | {"hyper_parameters": {"model": Hostile(proof)}},
        "asks to call posix.mkdir",
    ),
    "code among the weights": (lambda good, proof: change(good, evil=Hostile(proof)), "asks to call posix.mkdir"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", WRONG)
def test_a_checkpoint_of_something_else_is_refused(kind: str, zipped: bool, trained: Trained, tmp_path: Path) -> None:
    file, proof, (make, message) = tmp_path / "wrong.ckpt", tmp_path / "executed", WRONG[kind]
    good = read_checkpoint(Run(trained.path).last)
    torch.save(make(good, proof), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=message) as refused:
        load_classifier(file)
    one_line(f"error: {refused.value}\n")
    assert not proof.exists()


def test_no_environment_variable_makes_it_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file, proof = tmp_path / "evil.ckpt", tmp_path / "executed"
    torch.save(Hostile(proof), file)
    with pytest.raises(InputError, match="asks to call"):
        load_classifier(file)
    assert not proof.exists()


def test_a_checkpoint_says_what_it_was_trained_with(trained: Trained) -> None:
    checkpoint = read_checkpoint(Run(trained.path).last)
    assert checkpoint["config"]["optimizer._target_"] == "mnist_cnn.optim.KerasRMSprop"
    check_resumable(Run(trained.path).last, checkpoint["config"] | {"trainer.max_epochs": 9}, "mnist-sample")
    with pytest.raises(InputError, match=r"trained with optimizer.lr=0.001, now it is 0.1"):
        check_resumable(Run(trained.path).last, checkpoint["config"] | {"optimizer.lr": 0.1}, "mnist-sample")
    with pytest.raises(InputError, match=r"trained with trainer.max_epochs=5, now it is 4"):
        check_resumable(Run(trained.path).last, checkpoint["config"] | {"trainer.max_epochs": 4}, "mnist-sample")
    with pytest.raises(InputError, match=r"trained with dataset=mnist-sample, now it is mnist"):
        check_resumable(Run(trained.path).last, checkpoint["config"], "mnist")
