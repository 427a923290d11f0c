from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mnist_cnn
from mnist_cnn import DigitClassifier, MNISTDataModule
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.model.metrics import StageMetrics
from mnist_cnn.model.primitives import to_floats
from tests.recipes import IMAGES, NET


def test_bytes_integers_and_floats_give_the_same_logits(sample: Dataset) -> None:
    classifier, images = DigitClassifier(), sample.test.images[:8]
    for same in (images.float() / 255, images.long()):
        assert torch.equal(classifier(images), classifier(same))


@pytest.mark.parametrize("shape", [(28, 28), (5, 28, 28), (5, 1, 28, 28)])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_predict_takes_one_image_or_many(sample: Dataset, shape: tuple[int, ...], kind: str) -> None:
    n = 1 if len(shape) == 2 else 5
    images = sample.test.images[:n].reshape(shape)
    prediction = DigitClassifier().predict(images.numpy() if kind == "array" else images)
    assert prediction.digits.shape == (n,)
    assert prediction.probabilities.shape == (n, 10)
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(n))
    assert torch.equal(prediction.digits, prediction.probabilities.argmax(1))


def test_predict_gives_the_same_in_parts(sample: Dataset) -> None:
    classifier = DigitClassifier()
    many = torch.cat([sample.test.images] * 2)
    prediction = classifier.predict(many)
    torch.testing.assert_close(prediction.probabilities[1000:], classifier.predict(sample.test.images).probabilities)


def test_the_loss_is_cross_entropy_in_every_stage(sample: Dataset) -> None:
    classifier = DigitClassifier()
    batch = (sample.test.images[:50], sample.test.labels[:50])
    loss = classifier.training_step(batch, 0)
    classifier.test_step(batch, 0)
    probabilities = classifier.predict(batch[0]).probabilities
    expected = -probabilities[torch.arange(50), batch[1]].log().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(classifier.compute_metrics("test")["test/loss"], expected)
    torch.testing.assert_close(
        classifier.compute_metrics("train")["train/acc"], (probabilities.argmax(1) == batch[1]).float().mean()
    )


def test_each_epochs_metrics_are_of_its_own_images() -> None:
    data = MNISTDataModule(name="sample", batch_size=500, val_size=500)
    classifier = DigitClassifier({"channels": [2]}, optimizer=lambda weights: torch.optim.SGD(weights, lr=0))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, num_sanity_val_steps=0
    )
    trainer.fit(classifier, data)
    trainer.test(classifier, data)
    trainer.test(classifier, data)
    metrics = (classifier.train_metrics, classifier.val_metrics, classifier.test_metrics)
    assert [int(each.images) for each in metrics] == [3500, 500, 1000]


def test_metrics_of_several_processes_add_up() -> None:
    metrics = StageMetrics()
    metrics.update(torch.tensor(0.5), torch.eye(10)[:4], torch.tensor([0, 1, 2, 9]))
    metrics.sync(dist_sync_fn=lambda part, group: [part, part], distributed_available=lambda: True)
    assert (int(metrics.images), int(metrics.correct), float(metrics.loss)) == (8, 6, 4.0)


def test_metrics_weight_batches_by_their_images() -> None:
    metrics, logits, labels = StageMetrics(), torch.randn(10, 10), torch.randint(10, (10,))
    for part in (slice(0, 8), slice(8, 10)):
        metrics.update(F.cross_entropy(logits[part], labels[part]), logits[part], labels[part])
    torch.testing.assert_close(metrics.compute()["loss"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(metrics.compute()["acc"], (logits.argmax(1) == labels).float().mean())


def test_the_default_optimizer_is_keras_rmsprop() -> None:
    assert type(DigitClassifier().configure_optimizers()).__name__ == "KerasRMSprop"


def test_floats_are_the_shortest_decimals_of_their_float32() -> None:
    assert to_floats({"acc": torch.tensor(0.98), "loss": np.float32(0.1)}) == {"acc": 0.98, "loss": 0.1}


class Trainer:
    """What a Trainer says of its device."""

    global_rank, world_size = 0, 1

    def __init__(self, device: str) -> None:
        self.strategy = SimpleNamespace(root_device=torch.device(device))


def test_a_training_step_never_waits_for_its_device() -> None:
    data = MNISTDataModule(name="sample")
    data.setup()
    data.trainer = Trainer("meta")  # type: ignore[assignment]  # where every look at a value raises
    classifier = DigitClassifier().to("meta")
    optimizer = classifier.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    for number, batch in enumerate(data.train_dataloader()):
        assert {part.device.type for part in batch} == {"meta"}
        optimizer.zero_grad()
        classifier.training_step((batch[0], batch[1]), number).backward()
        optimizer.step()
    assert all(value.device.type == "meta" for value in classifier.compute_metrics("train").values())
    with pytest.raises((RuntimeError, NotImplementedError)):
        classifier.compute_metrics("train")["train/acc"].item()


def test_labels_are_smoothed_in_training_only(sample: Dataset) -> None:
    classifier = DigitClassifier(label_smoothing=0.2)
    batch = (sample.test.images[:50], sample.test.labels[:50])
    smoothed = classifier.training_step(batch, 0)
    classifier.test_step(batch, 0)
    logs = classifier.predict(batch[0]).probabilities.log()
    plain = -logs[torch.arange(50), batch[1]].mean()
    torch.testing.assert_close(classifier.compute_metrics("test")["test/loss"], plain)
    torch.testing.assert_close(smoothed, 0.8 * plain - 0.2 * logs.mean())


def test_predict_computes_in_eval_mode_and_restores_the_mode_of_each_module() -> None:
    classifier = DigitClassifier(NET | {"dropout": 0.5}).train()
    classifier.net.conv1.eval()  # type: ignore[union-attr, operator]
    first, second = (classifier.predict(IMAGES).probabilities for _ in range(2))
    assert torch.equal(first, second)  # without dropout
    assert classifier.training
    assert not classifier.net.conv1.training  # type: ignore[union-attr]


def test_a_misspelled_export_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'DigitClasifier'"):
        _ = mnist_cnn.DigitClasifier  # type: ignore[attr-defined]


def test_a_refused_image_leaves_training_mode_as_it_was() -> None:
    classifier = DigitClassifier(NET).train()
    with pytest.raises(InputError):
        classifier.predict([[1]])
    assert classifier.net.training
