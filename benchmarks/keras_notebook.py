"""The notebook's Keras code: `KERAS_BACKEND=tensorflow python -m benchmarks.keras_notebook MNIST.npz`.

Fits 5 epochs `--fits` times on the same model and prints a JSON line after each: the epochs' training loss and
accuracy, and the test's. The file holds what keras.datasets.mnist.load_data() would download.

No seed is set, as the notebook sets none. It matters: after keras.utils.set_random_seed, Keras 3.15 on TensorFlow 2.21
takes the images in one and the same order in every epoch, and learns them by heart sooner.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

# The notebook's own printed log, of a second fit of 5 epochs on the same model: its first and last epoch, and the test.
PRINTED = {
    "epoch 6 train/acc": 0.9869,
    "epoch 10 train/acc": 0.9963,
    "epoch 10 test/loss": 0.0242,
    "epoch 10 test/acc": 0.9928,
}


def build_model(padding: str = "valid") -> Any:
    """Build the notebook's network: images (batch, 28, 28, 1) to the probabilities of ten digits."""
    import keras
    from keras import layers

    inputs = keras.Input(shape=(28, 28, 1))
    x = layers.Conv2D(32, 3, activation="relu", padding=padding)(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(64, 3, activation="relu", padding=padding)(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(128, 3, activation="relu", padding=padding)(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(10, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Fit, test, print; as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", type=Path, help="an .npz of x_train, y_train, x_test, y_test")
    parser.add_argument("--fits", type=int, default=1)
    options = parser.parse_args()
    with np.load(options.mnist) as file:
        train_images, train_labels, test_images, test_labels = (
            file[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    train_images = train_images.reshape((60000, 28, 28, 1)).astype("float32") / 255
    test_images = test_images.reshape((10000, 28, 28, 1)).astype("float32") / 255
    model = build_model()
    for _ in range(options.fits):
        history = model.fit(train_images, train_labels, epochs=5, batch_size=64, verbose=0).history
        loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
        row = {"train/loss": history["loss"], "train/acc": history["accuracy"], "test/loss": loss, "test/acc": accuracy}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
