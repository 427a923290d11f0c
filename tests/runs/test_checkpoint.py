import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.runs import archive
from mnist_cnn.runs.checkpoint import check_resumable, read_checkpoint
from mnist_cnn.runs.directory import Run
from tests.conftest import Trained, one_line
from tests.faults import checkpoints, hostile


@pytest.fixture
def good(trained: Trained) -> bytes:
    return Run(trained.path).last.read_bytes()


def test_a_run_loads_ready_to_predict(trained: Trained, sample: Dataset) -> None:
    classifier = load_classifier(trained.path)
    assert not classifier.training
    accuracy = (classifier.predict(sample.test.images).digits == sample.test.labels).float().mean()
    assert accuracy.item() == pytest.approx(trained.result["test/acc"])


def test_lightning_loads_it_too(trained: Trained) -> None:
    ours = load_classifier(trained.path)
    theirs = DigitClassifier.load_from_checkpoint(Run(trained.path).last, weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.net.parameters(), theirs.net.parameters(), strict=True))


def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    state = {
        "numbers": [1, -(2**40), 0.5, True, None, (1, 2, 3)],
        "tensors": {str(kind): torch.ones(2, 3).to(kind) for kind in (torch.float64, torch.bfloat16, torch.int8)},
        "a part of another": torch.arange(10)[2:8:3],
        "counted": __import__("collections").Counter([3, 3, 5]),
        "weights": torch.nn.Linear(2, 3).state_dict(),  # an OrderedDict with an attribute
    }
    file = tmp_path / "file.ckpt"
    file.write_bytes(archive.saved(state))
    theirs = torch.load(file, weights_only=True)
    ours = archive.read(file)
    assert str(ours) == str(theirs)
    assert ours["weights"]._metadata == theirs["weights"]._metadata
    unsealed = {key: theirs[key] for key in state}
    torch.save(unsealed, file)  # as somebody's own Trainer would
    assert str(archive.read(file)) == str(unsealed)


def test_what_would_not_be_read_is_not_written() -> None:
    with pytest.raises(InputError, match=r"asks to call pathlib\."):
        archive.saved({"folder": Path()})


def load(file: Path, content: bytes) -> DigitClassifier:
    file.write_bytes(content)
    return load_classifier(file)


def test_damaged_checkpoints_are_refused_in_a_line(good: bytes, tmp_path: Path) -> None:
    refused = 0
    for kind, damaged in checkpoints.mutations(good, 80):
        with pytest.raises(InputError) as error:
            load(tmp_path / "damaged.ckpt", damaged)
        one_line(f"error: {error.value}\n")
        assert "damaged" in str(error.value), kind
        refused += 1
    assert refused == 80


def test_hostile_checkpoints_are_refused_and_run_nothing(good: bytes, trained: Trained, tmp_path: Path) -> None:
    proof, loaded, refused = tmp_path / "executed", [], 0
    for kind, evil in hostile.hostile(good, proof):
        try:
            load(tmp_path / "evil.ckpt", evil)
            loaded.append(kind)
        except InputError as error:
            one_line(f"error: {error}\n")
            refused += 1
        assert not proof.exists(), kind
    assert loaded == ["a second pickle in capitals"]  # a record that nobody reads
    assert refused >= 24


def test_bytes_that_would_take_long_to_look_through_are_refused(good: bytes, tmp_path: Path) -> None:
    large = dict(hostile.hostile(good, tmp_path / "executed"))["a pickle of 9 MB"]
    with pytest.raises(InputError, match="beside its tensors it has more than 2,097,152 bytes"):
        load(tmp_path / "large.ckpt", large)


def test_the_proof_would_tell(good: bytes, tmp_path: Path) -> None:
    """Read carelessly, the same file runs its code."""
    kind, evil = next(hostile.hostile(good, tmp_path / "executed"))
    torch.load(io.BytesIO(evil), weights_only=False)
    assert (tmp_path / "executed").is_dir(), kind


def test_no_environment_variable_makes_it_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    proof = tmp_path / "executed"
    with pytest.raises(InputError, match=r"asks to call posix\.mkdir"):
        load(tmp_path / "evil.ckpt", hostile.saved(hostile.Calls(os.mkdir, str(proof))))
    assert not proof.exists()


def change(checkpoint: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return checkpoint | {"state_dict": checkpoint["state_dict"] | changes}


def network(**options: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda good: good | {"hyper_parameters": {"model": options}}


WEIGHT = "net.conv1.weight"
WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another program's": (lambda good: {"model": {"weight": torch.ones(2)}}, "has no hyper_parameters"),
    "a bare state dict": (lambda good: good["state_dict"], "has no hyper_parameters"),
    "a list": (lambda good: [1, 2], "but a list"),
    "no network named": (lambda good: good | {"hyper_parameters": {}}, "names no network"),
    "a name that is none": (lambda good: good | {"state_dict": {3: 4}}, "conv1.weight is missing"),
    "an unknown network": (network(name="os.system"), "not known"),
    "a name that is no text": (network(name=["conv"] * 9), "cannot be built"),
    "an unknown option": (network(_target_="x"), "not known"),
    "an enormous network": (network(name="dense", hidden=10**9), "from 1 to 4096"),
    "a fractional network": (network(name="dense", hidden=512.0), "cannot be built"),
    "another padding": (
        network(padding="same"),
        r"net.*dense.weight is float32 \(10, 1152\) where float32 \(10, 6272\)",
    ),
    "a missing weight": (lambda good: change(good, **{WEIGHT: None}), "conv1.weight is missing"),
    "a weight of another shape": (lambda good: change(good, **{WEIGHT: torch.ones(3)}), r"is float32 \(3,\) where"),
    "a weight of another type": (
        lambda good: change(good, **{WEIGHT: good["state_dict"][WEIGHT].half()}),
        "is float16",
    ),
    "a gigantic network": (network(pooling="none", channels=[4096] * 5), "does not fit its network"),
    "a weight too many": (lambda good: change(good, **{"net.conv9.bias": torch.ones(1)}), "conv9.bias"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_checkpoint_of_something_else_is_refused(kind: str, trained: Trained, tmp_path: Path) -> None:
    make, message = WRONG[kind]
    with pytest.raises(InputError, match=message) as refused:
        load(tmp_path / "wrong.ckpt", hostile.saved(make(read_checkpoint(Run(trained.path).last))))
    one_line(f"error: {refused.value}\n")


def test_a_checkpoint_says_what_it_was_trained_with(trained: Trained) -> None:
    last = Run(trained.path).last
    checkpoint = read_checkpoint(last)
    config = checkpoint["config"]
    assert config["optimizer._target_"] == "mnist_cnn.model.optimizers.KerasRMSprop"
    fresh = {part: checkpoint[part] for part in ("state_dict", "optimizer_states", "lr_schedulers")}
    check_resumable(last, config | {"trainer.max_epochs": 9}, "mnist-sample", fresh)
    for changes, dataset, message in (
        ({"optimizer.lr": 0.1}, "mnist-sample", r"trained with optimizer.lr=0.001, now it is 0.1"),
        ({"trainer.max_epochs": 4}, "mnist-sample", r"trained with trainer.max_epochs=5, now it is 4"),
        ({}, "mnist", r"trained with dataset=mnist-sample, now it is mnist"),
    ):
        with pytest.raises(InputError, match=message):
            check_resumable(last, config | changes, dataset, fresh)
