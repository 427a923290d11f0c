"""What a run's training images are like is measured once, and kept beside its checkpoint."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_cnn.errors import InputError
from mnist_cnn.runs import familiar
from mnist_cnn.runs.checkpoint import load_classifier
from mnist_cnn.runs.familiar import load_familiarity
from tests.conftest import Trained


@pytest.fixture
def checkpoint(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained.path / "checkpoints" / "last.ckpt", tmp_path / "digits.ckpt"))


def test_it_is_kept_and_then_needs_no_data(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_classifier(checkpoint)
    first = load_familiarity(checkpoint, classifier)
    monkeypatch.setattr(familiar, "load_trained", _no_data)
    second = load_familiarity(checkpoint, classifier)
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first.components, second.components, rtol=0, atol=1e-3)
    assert first.limit == second.limit


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None])
def test_what_is_damaged_or_of_other_weights_is_not_used(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    classifier = load_classifier(checkpoint)
    assert load_familiarity(checkpoint, classifier) is not None
    kept = checkpoint.with_name("digits.familiarity.npz")
    if damage is None:
        checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    else:
        kept.write_bytes(damage)
    monkeypatch.setattr(familiar, "load_trained", _no_data)
    assert load_familiarity(checkpoint, classifier) is None


def _no_data(_: Path) -> None:
    raise InputError("no data")


def test_a_file_that_would_fill_the_memory_is_not_read(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, kept = load_classifier(checkpoint), checkpoint.with_name("digits.familiarity.npz")
    np.savez_compressed(kept, means=np.zeros(80 * 2**20, dtype=np.uint8))
    assert kept.stat().st_size < 10**6
    monkeypatch.setattr(familiar, "load_trained", _no_data)
    monkeypatch.setattr(np, "load", _no_data)
    assert load_familiarity(checkpoint, classifier) is None
