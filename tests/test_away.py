"""Nothing takes a device's memory for the host's: each room that works with tensors, on a device that is another."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.data.augment import Augmenter
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.distortions import distort
from mnist_cnn.data.images import scale
from mnist_cnn.data.strengths import STRENGTHS
from mnist_cnn.model.nets import ConvNet
from mnist_cnn.model.teacher import Teacher
from mnist_cnn.reports.answers import answer, robustness
from mnist_cnn.reports.network import evidence, response_maps
from mnist_cnn.runs.directory import Run
from mnist_cnn.schema import Augmentation
from mnist_cnn.settings import compose
from mnist_cnn.training.assemble import assemble
from mnist_cnn.training.fit import Training
from mnist_cnn.training.start import Options, train
from tests.away import DEVICE, crossings, kernels
from tests.faults.runs import difference
from tests.recipes import QUICK, SMALL

FEW = (*SMALL, "data.train_size=640")
PLAIN = ("optimizer=rmsprop",)
CLIPPED = ("optimizer=adam", "scheduler=onecycle", "trainer.gradient_clip_val=1", "checkpoint.every_steps=16")
AUGMENTED = ("optimizer=nadam", "augment=elastic", "augment.stroke=1", "ema_decay=0.9", "data.val_size=500")
Assemble = Callable[..., Training]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Assemble:
    """Assemble a training on DEVICE."""

    def trainer(**options: Any) -> pl.Trainer:
        return real(**options | {"strategy": SingleDeviceStrategy(DEVICE), "inference_mode": False})

    def assemble_away(path: Path, *overrides: str) -> Training:
        with monkeypatch.context() as patch:
            patch.setattr("mnist_cnn.training.trainer.pl", SimpleNamespace(Trainer=trainer, Callback=pl.Callback))
            return assemble(compose(*overrides), Run(path), Options())

    real = pl.Trainer
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda *_: None)
    return assemble_away


@pytest.mark.parametrize("overrides", [PLAIN, CLIPPED, AUGMENTED])
def test_training_on_a_device_gives_the_cpus_result(overrides: tuple[str, ...], tmp_path: Path, away: Assemble) -> None:
    on_cpu = train(compose(*FEW, *overrides), Run(tmp_path / "cpu"))
    result = away(tmp_path / "away", *FEW, *overrides).fit_and_test()
    assert result["device"] == "away:0"
    assert result["train/loss"] == pytest.approx(on_cpu["train/loss"], rel=1e-3)
    assert result["test/loss"] == pytest.approx(on_cpu["test/loss"], rel=1e-3)
    weights = [load_classifier(tmp_path / name).net.dense.weight for name in ("cpu", "away")]
    torch.testing.assert_close(*weights, atol=1e-3, rtol=0)


class Cut(Exception):
    pass


def cut(trainer: pl.Trainer, *_: Any) -> None:
    if trainer.global_step == 32:
        raise Cut


@pytest.mark.parametrize("overrides", [CLIPPED, (*AUGMENTED, "checkpoint.every_steps=16")])
def test_training_on_a_device_resumes_bit_identically(
    overrides: tuple[str, ...], tmp_path: Path, away: Assemble
) -> None:
    away(tmp_path / "whole", *SMALL, *overrides).fit_and_test()
    interrupted = away(tmp_path / "cut", *SMALL, *overrides)
    interrupted.trainer.callbacks.append(LambdaCallback(on_train_batch_end=cut))  # type: ignore[attr-defined]
    with pytest.raises(Cut):
        interrupted.fit_and_test()
    resumed = away(tmp_path / "cut", *SMALL, *overrides)
    assert resumed.resume_from
    resumed.fit_and_test()
    assert difference(tmp_path / "cut", tmp_path / "whole") == ""


@pytest.mark.parametrize(("overrides", "most"), [((), 36), (("augment=elastic", "augment.stroke=1"), 40)])
def test_a_slab_never_waits_for_the_device(
    overrides: tuple[str, ...], most: float, tmp_path: Path, away: Assemble
) -> None:
    """A slab is 16 steps. One copy to the device tells which images it takes."""
    counted = []

    def count(trainer: pl.Trainer, *_: Any) -> None:
        counted.append((kernels.total(), dict(crossings)))
        kernels.clear()
        crossings.clear()

    training = away(tmp_path, *QUICK, "data.train_size=3072", *overrides)
    training.trainer.callbacks.insert(0, LambdaCallback(on_train_batch_end=count))  # type: ignore[attr-defined]
    training.fit_and_test()
    started, crossed = counted[1]  # the first slab sets up the optimizer, the last ends the epoch
    assert started <= 16 * most
    assert crossed == {"to the device": 1}


def test_augmentation_on_a_device_equals_the_cpus(sample: Dataset) -> None:
    images, everything = sample.train.images[:20], torch.arange(20)
    strengths = Augmentation(shift=2, turn=10, scale=0.1, shear=0.1, elastic=1, stroke=1)
    on_cpu = Augmenter(strengths, 20, seed=0)(images, everything, 1)
    for device in (DEVICE, torch.device("cpu")):  # on a Mac's GPU the CPU augments
        augmented = Augmenter(strengths, 20, 0, device)(images.to(DEVICE), everything.to(DEVICE), 1)
        assert augmented.device == DEVICE
        torch.testing.assert_close(augmented.cpu(), on_cpu)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_distortions_on_a_device_equal_the_cpus(kind: str, sample: Dataset) -> None:
    images = sample.test.images[:20]
    assert torch.equal(distort(images.to(DEVICE), kind, 2).cpu(), distort(images, kind, 2))


@pytest.fixture
def classifier() -> DigitClassifier:
    return DigitClassifier({"channels": [4, 8]}).to(DEVICE)


def test_predictions_on_a_device_equal_the_cpus(classifier: DigitClassifier, sample: Dataset) -> None:
    found = classifier.predict(sample.test.images[:20].numpy())
    assert found.digits.device == DEVICE
    robust = robustness([classifier], sample.test, "shift", [2])
    answers = answer(classifier, sample.test)
    classifier.to("cpu")
    torch.testing.assert_close(found.probabilities.cpu(), classifier.predict(sample.test.images[:20]).probabilities)
    torch.testing.assert_close(answers.probabilities, answer(classifier, sample.test).probabilities)
    assert robust == robustness([classifier], sample.test, "shift", [2])


def test_evidence_and_response_maps_on_a_device_equal_the_cpus(sample: Dataset) -> None:
    net, image = ConvNet(), sample.test.images[0]
    expected: list[Tensor] = [evidence(net, image, 3), *(maps for _, maps in response_maps(net, image))]
    net, image = net.to(DEVICE), image.to(DEVICE)
    found = [evidence(net, image, 3), *(maps for _, maps in response_maps(net, image))]
    for here, there in zip(expected, found, strict=True):
        assert there.device == DEVICE
        torch.testing.assert_close(there.cpu(), here)


def test_a_teacher_teaches_where_the_images_are(sample: Dataset) -> None:
    net, images = ConvNet(channels=[4, 8]), sample.test.images[:20]
    logits = torch.randn(20, 10)
    on_cpu, digest = Teacher([net], 2).loss(images, logits), Teacher([net]).digest()
    teacher = Teacher([net], 2)
    torch.testing.assert_close(teacher.loss(images.to(DEVICE), logits.to(DEVICE)).cpu(), on_cpu)
    assert teacher.digest() == digest


def test_bytes_become_the_same_floats(sample: Dataset) -> None:
    images = sample.test.images[:20]
    assert torch.equal(scale(images.to(DEVICE)).cpu(), images.float().div(255))
