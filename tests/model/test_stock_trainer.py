"""DigitClassifier and MNISTDataModule in a stock Trainer: its options do what Lightning's documentation says."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from torch.utils.data import DataLoader, TensorDataset

from mnist_cnn import DigitClassifier, MNISTDataModule, load_classifier
from mnist_cnn.data.datasets import Dataset
from mnist_cnn.data.images import scale
from tests.recipes import BATCH, IMAGES, NET, TRAINER

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
    "ignore:.*requested to overfit",  # Lightning says that it turns shuffling off
    "ignore:.*no .val_dataloader",
    "ignore:.*Checkpoint directory",
    "ignore:.*LeafSpec",
    "ignore:Total length of `list` across ranks is zero",  # no validation split
    "ignore:.*Swapping scheduler",
    "ignore:Be aware that when using `ckpt_path`",
)


class Losses(pl.Callback):
    """Notes what each training step returned, and how far the weights moved in it."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.moved: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.before = torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        after = torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach()
        self.moved.append(float((after - self.before).norm()))


def fit(
    classifier: DigitClassifier | None = None,
    data: Any = None,
    callbacks: list[pl.Callback] | None = None,
    **options: Any,
) -> tuple[pl.Trainer, Losses]:
    losses = Losses()
    trainer = pl.Trainer(callbacks=[losses, *(callbacks or [])], **TRAINER | {"limit_train_batches": 4} | options)
    trainer.fit(classifier or DigitClassifier(NET), data or MNISTDataModule(name="sample", batch_size=100))
    return trainer, losses


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1.0)


def test_each_batch_is_one_step_and_its_loss_is_reported() -> None:
    trainer, losses = fit(limit_train_batches=None)
    assert trainer.global_step == trainer.num_training_batches == len(losses.losses) == 40
    assert losses.losses[-1] < losses.losses[0]


def test_gradient_clip_val_bounds_every_step() -> None:
    _, free = fit(DigitClassifier(NET, optimizer=sgd))
    _, clipped = fit(DigitClassifier(NET, optimizer=sgd), gradient_clip_val=1e-3)
    assert max(clipped.moved) <= 1.001e-3 < min(free.moved)  # a step of SGD with lr 1 is as long as the gradient


def test_accumulate_grad_batches_steps_once_for_several_batches() -> None:
    trainer, losses = fit(accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert [moved > 0 for moved in losses.moved] == [False, True, False, True]


def test_precision_computes_in_bfloat16() -> None:
    seen = []

    class Dtype(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                seen.append((pl_module(batch[0]).dtype, pl_module.net.dense.weight.dtype))

    fit(callbacks=[Dtype()], precision="bf16-mixed")
    assert set(seen) == {(torch.bfloat16, torch.float32)}


def test_limit_train_batches_limits_the_epoch() -> None:
    trainer, losses = fit(limit_train_batches=3, max_epochs=2)
    assert (trainer.global_step, len(losses.losses)) == (6, 6)


def test_overfit_batches_takes_the_same_batches_in_every_epoch() -> None:
    seen: list[torch.Tensor] = []

    class Batches(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch[0].clone())

    fit(callbacks=[Batches()], overfit_batches=2, max_epochs=2, limit_train_batches=None)
    assert [tuple(batch.shape) for batch in seen] == [(100, 1, 28, 28)] * 4
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))


def test_fast_dev_run_runs_every_loop_once() -> None:
    trainer, losses = fit(data=MNISTDataModule(name="sample", val_size=500), fast_dev_run=True)
    assert (trainer.global_step, len(losses.losses)) == (1, 1)
    assert {"train/loss", "train/acc", "val/loss", "val/acc"} <= trainer.callback_metrics.keys()


def test_early_stopping_and_model_checkpoint_monitor_validation(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, monitor="val/acc", mode="max", filename="best")
    stop = EarlyStopping("val/loss", patience=0, min_delta=1e9)
    data = MNISTDataModule(name="sample", val_size=500, batch_size=100)
    classifier = DigitClassifier(NET)
    trainer, _ = fit(classifier, data, [best, stop], max_epochs=5, enable_checkpointing=True)
    assert trainer.current_epoch == 2  # no epoch is better than the first by 10^9
    assert best.best_model_score == pytest.approx(float(trainer.callback_metrics["val/acc"]), abs=0.3)
    loaded = DigitClassifier.load_from_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    ours = load_classifier(tmp_path / "best.ckpt")
    for theirs, same in zip(loaded.net.parameters(), ours.net.parameters(), strict=True):
        assert torch.equal(theirs, same)
    assert dict(loaded.hparams) == {"model": NET, "label_smoothing": 0.0}


def test_stochastic_weight_averaging_averages() -> None:
    classifier = DigitClassifier(NET)
    trainer, _ = fit(classifier, callbacks=[StochasticWeightAveraging(1e-3, swa_epoch_start=1)], max_epochs=3)
    assert trainer.global_step == 12
    assert all(weights.isfinite().all() for weights in classifier.parameters())


def test_a_fit_is_resumed_by_lightning_itself(tmp_path: Path) -> None:
    whole, cut = DigitClassifier(NET), DigitClassifier(NET)
    cut.load_state_dict(whole.state_dict())
    fit(whole, max_epochs=2, limit_train_batches=None)
    trainer, _ = fit(cut, max_epochs=1, limit_train_batches=None)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = DigitClassifier(NET)
    data = MNISTDataModule(name="sample", batch_size=100)
    trainer = pl.Trainer(**TRAINER | {"max_epochs": 2})
    trainer.fit(resumed, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for theirs, same in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(theirs, same)


def test_trainer_predict_and_test_take_the_data_module(sample: Dataset) -> None:
    classifier, data = DigitClassifier(NET), MNISTDataModule(name="sample")
    trainer = pl.Trainer(**TRAINER)
    predictions = trainer.predict(classifier, data)
    assert predictions is not None
    digits = torch.cat([prediction.digits for prediction in predictions])  # type: ignore[union-attr]
    assert torch.equal(digits, classifier.predict(sample.test.images).digits)
    (values,) = trainer.test(classifier, data, verbose=False)
    assert values["test/acc"] == pytest.approx(float((digits == sample.test.labels).float().mean()))


def test_float_batches_of_a_stock_dataloader_train_alike(sample: Dataset) -> None:
    trained = []
    for images in (sample.train.images, scale(sample.train.images)):
        classifier = DigitClassifier(NET)
        torch.manual_seed(0)
        classifier.net.load_state_dict(DigitClassifier(NET).net.state_dict())
        fit(classifier, DataLoader(TensorDataset(images, sample.train.labels), batch_size=100))
        trained.append(classifier.net.dense.weight)
    assert torch.equal(*trained)


def test_every_steps_loss_is_logged() -> None:
    trainer, losses = fit()
    assert float(trainer.callback_metrics["train/loss_step"]) == pytest.approx(losses.losses[-1])


@pytest.mark.parametrize("stage", ["fit", "test", "predict"])
def test_normalised_floats_are_taken_at_every_stage(stage: str) -> None:
    images = (IMAGES / 255 - 0.1307) / 0.3081
    loader = DataLoader(TensorDataset(images, BATCH[1]), 4)
    trainer = pl.Trainer(**TRAINER)
    getattr(trainer, stage)(DigitClassifier(NET), loader)


def test_several_loaders_are_tested_as_one() -> None:
    data = MNISTDataModule(name="sample")
    trainer = pl.Trainer(**TRAINER)
    classifier = DigitClassifier(NET)
    trainer.test(classifier, [data.test_dataloader()] * 2, verbose=False)
    assert int(classifier.test_metrics.images) == 2000
    assert len(trainer.predict(classifier, [data.test_dataloader()] * 2) or ()) == 2


@pytest.mark.parametrize("accumulated", [1, 4])
def test_the_loss_of_a_step_is_that_of_its_batch_and_callbacks_see_it(accumulated: int) -> None:
    seen: list[tuple[float, float]] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
            seen.append((float(trainer.callback_metrics["train/loss_step"]), accumulated * float(outputs["loss"])))

    fit(callbacks=[Watch()], accumulate_grad_batches=accumulated)
    logged, true = zip(*seen, strict=True)
    assert logged == pytest.approx(true)
    assert len({*logged}) == 4


def test_an_epoch_that_is_resumed_at_its_end_is_counted_once(tmp_path: Path) -> None:
    counted: list[int] = []

    class Count(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            counted.append(int(pl_module.train_metrics.images))

    save = ModelCheckpoint(tmp_path, every_n_train_steps=4, filename="{step}", save_top_k=-1)
    fit(callbacks=[Count(), save], max_epochs=2, enable_checkpointing=True)
    trainer = pl.Trainer(callbacks=[Count()], **TRAINER | {"limit_train_batches": 4, "max_epochs": 2})
    data = MNISTDataModule(name="sample", batch_size=100)
    trainer.fit(DigitClassifier(NET), data, ckpt_path=tmp_path / "step=4.ckpt", weights_only=True)
    assert counted == [400] * len(counted)
    assert len(counted) >= 3


def test_a_subclass_that_takes_its_steps_itself_logs_no_nan() -> None:
    class Own(DigitClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.training_loss(*batch)[0]

    trainer, _ = fit(Own(NET))
    assert all(value.isfinite() for value in trainer.callback_metrics.values())


def test_images_of_booleans_are_zero_and_one() -> None:
    assert torch.equal(scale(torch.tensor([False, True])), torch.tensor([0.0, 1.0]))
