"""What Keras says, what we say, and the difference: `python -m benchmarks.parity [--data-dir data]`.

Keras 3 on its torch backend, the same weights and images in both. Needs all of MNIST and `pip install -e ".[dev]"`;
3 minutes on 2 cores.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.keras_notebook import build_model
from mnist_cnn import DigitClassifier, load_classifier
from mnist_cnn.cli import run_command
from mnist_cnn.data import datasets
from mnist_cnn.data.datasets import Images
from mnist_cnn.data.images import scale
from mnist_cnn.keras import files
from mnist_cnn.keras.convert import import_keras
from mnist_cnn.model.backend import forward_fast
from mnist_cnn.model.summary import count_parameters
from mnist_cnn.settings import compose
from mnist_cnn.training.optimization import build_optimizer

STEPS, BATCH = 20, 64
KERAS_OPTIMIZERS = {
    "rmsprop": lambda: keras.optimizers.RMSprop(),
    "adam": lambda: keras.optimizers.Adam(),
    "adamw": lambda: keras.optimizers.AdamW(),
    "nadam": lambda: keras.optimizers.Nadam(),
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
}


class Twins(NamedTuple):
    """Keras's model, and ours with the weights of the file that Keras saved."""

    keras: Any
    ours: DigitClassifier


class Answers(NamedTuple):
    """Logits (n, 10) of both for the same images."""

    keras: NDArray[np.floating]
    ours: NDArray[np.floating]

    @property
    def difference(self) -> float:
        """The largest, over images and digits."""
        return float(abs(self.keras - self.ours).max())

    @property
    def same_digits(self) -> int:
        """For how many images both say the same digit."""
        return int((self.keras.argmax(1) == self.ours.argmax(1)).sum())


class Steps(NamedTuple):
    """The loss at each step, and at the end the largest difference of a weight."""

    keras: list[float]
    ours: list[float]
    weights: float

    @property
    def losses(self) -> float:
        """The largest difference of a step's loss, relative."""
        return max(abs(k - o) / o for k, o in zip(self.keras, self.ours, strict=True))


def twins(padding: str = "valid", seed: int = 0, train_on: Images | None = None) -> Twins:
    """Build the notebook's model in Keras, train it an epoch where images are given, save it, and import the file."""
    keras.utils.set_random_seed(seed)
    model = build_model(padding)
    if train_on is not None:
        model.fit(pixels(train_on.images), train_on.labels.numpy(), batch_size=BATCH, verbose=0)
    with TemporaryDirectory() as folder:
        file, checkpoint = Path(folder) / "digits.keras", Path(folder) / "digits.ckpt"
        model.save(file)
        import_keras(files.read(file), checkpoint)
        return Twins(model, load_classifier(checkpoint))


def pixels(images: Tensor, dtype: str = "float32") -> NDArray[np.floating]:
    """Scale images (n, 1, 28, 28) uint8 as the notebook does: (n, 28, 28, 1) in [0, 1]."""
    values: NDArray[np.floating] = images.numpy().reshape(-1, 28, 28, 1).astype(dtype) / 255
    return values


def logits(pair: Twins, images: Tensor) -> Answers:
    """Return what both say before softmax."""
    head = pair.keras.layers[-1]
    features = keras.Model(pair.keras.inputs, head.input).predict(pixels(images), batch_size=500, verbose=0)
    kernel, bias = head.get_weights()
    with torch.inference_mode():
        ours = torch.cat([pair.ours(batch) for batch in images.split(500)])
    return Answers(features @ kernel + bias, ours.numpy())


def gradients(pair: Twins, batch: Images) -> dict[str, tuple[float, float]]:
    """Return for every parameter the largest gradient, and the largest difference between both."""
    _keras_loss(pair.keras, batch).backward()
    F.cross_entropy(pair.ours(batch.images), batch.labels).backward()
    theirs = _as_ours(pair, [variable.value.grad for variable in pair.keras.trainable_variables])
    return {
        name: (weight.grad.abs().max().item(), (weight.grad - theirs[name]).abs().max().item())
        for name, weight in pair.ours.net.named_parameters()
        if weight.grad is not None
    }


def steps(optimizer: str, images: Images, padding: str = "valid", seed: int = 0, dtype: str = "float64") -> Steps:
    """Train both from the same weights on the same batches, ours with what conf/optimizer says."""
    weights = twins(padding, seed)
    with _floats(dtype):
        pair = Twins(build_model(padding), weights.ours.to(getattr(torch, dtype)).train())
        pair.keras.set_weights(weights.keras.get_weights())
        theirs, ours = KERAS_OPTIMIZERS[optimizer](), build_optimizer(_options(optimizer), pair.ours.parameters())
        losses: list[tuple[float, float]] = []
        for batch in batches(images):
            pair.keras.zero_grad()
            keras_loss = _keras_loss(pair.keras, batch, dtype)
            keras_loss.backward()
            variables = pair.keras.trainable_variables
            with torch.no_grad():
                theirs.apply([variable.value.grad for variable in variables], variables)
            losses.append((keras_loss.item(), step(pair.ours.net, ours, batch, dtype)))
        ends = _as_ours(pair, [variable.value.detach() for variable in pair.keras.trainable_variables])
    difference = max(
        (weight.detach() - ends[name]).abs().max().item() for name, weight in pair.ours.net.named_parameters()
    )
    return Steps([loss for loss, _ in losses], [loss for _, loss in losses], difference)


def own_steps(images: Images, seed: int = 0) -> float:
    """Return the largest difference of a weight between our network in two memory layouts: float32's own share."""
    first = twins(seed=seed).ours.train()
    ends = []
    for in_onednns in (True, False):
        net = DigitClassifier().net.train(in_onednns)
        net.load_state_dict(first.net.state_dict())
        optimizer = build_optimizer(_options("rmsprop"), net.parameters())
        for batch in batches(images):
            step(net, optimizer, batch, "float32")
        ends.append([weight.detach() for weight in net.parameters()])
    return max((a - b).abs().max().item() for a, b in zip(*ends, strict=True))


def batches(images: Images) -> Iterator[Images]:
    """Yield 20 batches of 64 in a fixed random order."""
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))
    for indices in order[: STEPS * BATCH].split(BATCH):
        yield Images(images.images[indices], images.labels[indices])


def step(net: nn.Sequential, optimizer: torch.optim.Optimizer, batch: Images, dtype: str) -> float:
    """Take a step on our side; return its loss."""
    optimizer.zero_grad()
    x = scale(batch.images) if dtype == "float32" else torch.from_numpy(pixels(batch.images, dtype)).permute(0, 3, 1, 2)
    loss = F.cross_entropy(forward_fast(net, x), batch.labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    datasets.fetch("mnist", options.data_dir)
    mnist = datasets.read("mnist", options.data_dir)
    print("| what | Keras | ours | largest difference |\n|---|---|---|---|")
    for padding in ("valid", "same"):
        for row in weights_rows(padding, mnist):
            print(f"| {padding}: {row} |", flush=True)
    for name in KERAS_OPTIMIZERS:
        done = steps(name, mnist.train)
        gaps = f"{done.losses:.0e} relative; of the weights {done.weights:.0e}"
        print(f"| loss at step 20, {name}, float64 | {done.keras[-1]:.6f} | {done.ours[-1]:.6f} | {gaps} |", flush=True)
    singles = [steps("rmsprop", mnist.train, seed=seed, dtype="float32") for seed in range(20)]
    own = [own_steps(mnist.train, seed) for seed in range(20)]
    for name, values in (
        ("losses, relative, ours and Keras", [done.losses for done in singles]),
        ("weights, ours and Keras", [done.weights for done in singles]),
        ("weights, ours and ours in another memory layout", own),
    ):
        print(
            f"20 rmsprop steps in float32: {name}: median {np.median(values):.0e}, {min(values):.0e} to "
            f"{max(values):.0e}, within 1e-5 for {sum(value <= 1e-5 for value in values)} of 20 seeds"
        )


def weights_rows(padding: str, mnist: datasets.Dataset) -> Iterator[str]:
    """Yield the table's rows on outputs and gradients: a model that Keras trained an epoch, and a fresh one."""
    pair = twins(padding, train_on=mnist.train)
    said = logits(pair, mnist.test.images)
    keras_accuracy, accuracy = ((one.argmax(1) == mnist.test.labels.numpy()).mean() for one in said)
    yield f"parameters | {pair.keras.count_params():,} | {count_parameters(pair.ours.net):,} | 0"
    same = f"same digit for {said.same_digits:,} of {len(said.ours):,}"
    yield f"test accuracy, weights trained by Keras | {keras_accuracy:.4f} | {accuracy:.4f} | {same}"
    keras_range, our_range = (f"{one.min():.3f} … {one.max():.3f}" for one in said)
    yield f"its logits | {keras_range} | {our_range} | {said.difference:.0e}"
    found = gradients(twins(padding), next(batches(mnist.train))).values()
    yield f"gradients of a batch | | up to {max(size for size, _ in found):.3f} | {max(gap for _, gap in found):.0e}"


def _options(optimizer: str) -> dict[str, Any]:
    options: dict[str, Any] = compose(f"optimizer={optimizer}").to_dict()["optimizer"]
    return options


def _keras_loss(model: Any, batch: Images, dtype: str = "float32") -> Tensor:
    probabilities = model(pixels(batch.images, dtype), training=True)
    losses = keras.losses.sparse_categorical_crossentropy(batch.labels.numpy(), probabilities)
    mean: Tensor = losses.mean()
    return mean


def _as_ours(pair: Twins, values: list[Tensor]) -> dict[str, Tensor]:
    """Name what belongs to Keras's parameters as ours, in our order, without the code that is under test."""
    named: dict[str, Tensor] = {}
    for (name, weight), value in zip(pair.ours.net.named_parameters(), values, strict=True):
        if value.ndim == 4:  # height, width, inputs, outputs
            named[name] = torch.einsum("hwio->oihw", value)
        elif value.ndim == 2:  # (height, width, channels), units
            side = round((len(value) / 128) ** 0.5)
            named[name] = torch.einsum("hwcu->uchw", value.reshape(side, side, 128, -1)).flatten(1)
        else:
            named[name] = value
        assert named[name].shape == weight.shape
    return named


@contextmanager
def _floats(dtype: str) -> Iterator[None]:
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        with patch.dict(BIT64_TO_BIT32_DTYPE, float64="float64"):  # else Keras's Dense rounds to float32
            yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


if __name__ == "__main__":
    run_command(main)
