"""The notebook's Keras code, on the backend that KERAS_BACKEND names: `... MNIST.npz`."""

import sys

import numpy as np

from benchmarks.compare.turns import take_turns
from benchmarks.keras_notebook import build_model

with np.load(sys.argv[1]) as file:
    images, labels = file["x_train"].reshape((60000, 28, 28, 1)).astype("float32") / 255, file["y_train"]
model = build_model()
take_turns(lambda: model.fit(images, labels, epochs=1, batch_size=64, verbose=0))
