"""The notebook's Keras code from new weights every few epochs, tested after each: `... MNIST.npz EPOCHS`."""

import json
import sys
import time

import numpy as np

from benchmarks.keras_notebook import build_model

with np.load(sys.argv[1]) as file:
    images, tests = (file[name].reshape((-1, 28, 28, 1)).astype("float32") / 255 for name in ("x_train", "x_test"))
    labels, test_labels = file["y_train"], file["y_test"]
print("ready", flush=True)
for done, _ in enumerate(sys.stdin):
    if done % int(sys.argv[2]) == 0:
        model = build_model()
    begin = time.perf_counter()
    model.fit(images, labels, epochs=1, batch_size=64, verbose=0)
    seconds = time.perf_counter() - begin
    accuracy = model.evaluate(tests, test_labels, verbose=0)[1]
    print(json.dumps({"seconds": seconds, "test/acc": accuracy}), flush=True)
