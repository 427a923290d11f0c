"""Slabs change nothing but the time: the same weights as Lightning's own loop, batch by batch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from mnist_cnn import DigitClassifier, MNISTDataModule
from mnist_cnn.model.backend import forward_fast
from mnist_cnn.model.optimizers import KerasRMSprop, Muon
from mnist_cnn.training.slabs import SlabClassifier
from tests.recipes import NET

OPTIONS: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
OPTIONS |= {"accelerator": "cpu", "max_epochs": 2, "enable_model_summary": False, "limit_val_batches": 0}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval", "ignore:.*LeafSpec"
)


def halve(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.5), "interval": "step"}


def fit(classifier: DigitClassifier, batch_size: int, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(**OPTIONS | options)
    trainer.fit(classifier, MNISTDataModule(name="sample", batch_size=batch_size))
    return trainer


def weights(classifier: DigitClassifier) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(classifier.net.parameters())


class Plain(DigitClassifier):
    """Steps as Lightning takes them, on the same kernels."""

    def compute(self, images: torch.Tensor) -> torch.Tensor:
        return forward_fast(self.net, images)


@pytest.mark.parametrize("steps", [1, 5, 16, 63, 100])  # an epoch has 63
def test_slabs_give_the_weights_of_lightnings_own_loop(steps: int) -> None:
    plain, slabs = (
        Plain(NET, scheduler=halve, label_smoothing=0.1),
        SlabClassifier(64, model=NET, scheduler=halve, label_smoothing=0.1),
    )
    slabs.load_state_dict(plain.state_dict())
    one_by_one, at_once = fit(plain, 64), fit(slabs, 64 * steps)
    assert torch.equal(weights(plain), weights(slabs))
    assert one_by_one.global_step == at_once.global_step == 2 * 63
    assert one_by_one.callback_metrics["train/acc"] == at_once.callback_metrics["train/acc"]
    torch.testing.assert_close(one_by_one.callback_metrics["train/loss"], at_once.callback_metrics["train/loss"])
    assert at_once.num_training_batches == -(-63 // steps)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_slabs_clip_gradients_as_a_trainer_does(algorithm: str) -> None:
    plain, clip = Plain(NET), {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
    slabs, free = SlabClassifier(64, clip, model=NET), SlabClassifier(64, model=NET)
    for other in (slabs, free):
        other.load_state_dict(plain.state_dict())
    fit(plain, 64, max_epochs=1, **clip)
    for other in (slabs, free):
        fit(other, 64 * 16, max_epochs=1)
    assert torch.equal(weights(plain), weights(slabs))
    assert not torch.equal(weights(plain), weights(free))


@pytest.mark.parametrize("optimizer", [KerasRMSprop, Muon])  # Muon multiplies matrices, in float32
def test_slabs_compute_in_the_precision_asked_for(optimizer: type[torch.optim.Optimizer]) -> None:
    plain, slabs = Plain(NET, optimizer=optimizer), SlabClassifier(64, model=NET, optimizer=optimizer)
    slabs.load_state_dict(plain.state_dict())
    fit(plain, 64, max_epochs=1, precision="bf16-mixed")
    fit(slabs, 64 * 16, max_epochs=1, precision="bf16-mixed")
    assert torch.equal(weights(plain), weights(slabs))


def test_a_slab_classifiers_checkpoint_loads_as_a_digit_classifier(tmp_path: Path) -> None:
    slabs = SlabClassifier(64, model=NET, optimizer=KerasRMSprop)
    fit(slabs, 64 * 16, max_epochs=1).save_checkpoint(tmp_path / "slabs.ckpt")
    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "slabs.ckpt", weights_only=True)
    assert torch.equal(weights(loaded), weights(slabs))
    assert dict(loaded.hparams) == {"model": NET, "label_smoothing": 0.0}
