"""Weights in Keras's order: the same numbers in a Keras model give the same answers."""

from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from mnist_cnn.data.datasets import Dataset
from mnist_cnn.errors import InputError
from mnist_cnn.keras import weights
from mnist_cnn.model.registry import build_net, outline_net
from tests.keras.models import NOTEBOOK, build, describe, probabilities, random_weights

CONV = {"channels": [5, 7, 11]}
DENSE = {"name": "dense", "hidden": 20}


def dense_model() -> keras.Model:
    return build("flatten", layers.Dense(20, activation="relu"), "dense")


@pytest.mark.parametrize(
    ("options", "model"),
    [(CONV, build()), ({**CONV, "padding": "same"}, build(padding="same")), (DENSE, dense_model())],
    ids=["valid", "same", "dense"],
)
def test_keras_with_our_weights_answers_as_we_do(options: dict[str, Any], model: keras.Model, sample: Dataset) -> None:
    net = build_net(**options)
    torch.nn.init.normal_(net.dense.bias)
    model.set_weights([array for arrays in weights.to_keras(net) for array in arrays])
    with torch.inference_mode():
        ours = net(sample.test.images[:50].float() / 255).softmax(1)
    np.testing.assert_allclose(ours, probabilities(model, sample.test.images[:50]), atol=1e-5)


@pytest.mark.parametrize("options", [CONV, {**CONV, "padding": "same"}, DENSE], ids=str)
def test_weights_come_back_bit_for_bit(options: dict[str, Any]) -> None:
    net = build_net(**options)
    names = [f"layer{number}" for number in range(4)]
    state = weights.to_torch(outline_net(**options), dict(zip(names, weights.to_keras(net), strict=False)))
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(state[name], values) for name, values in net.state_dict().items())


def test_kernels_are_transposed_from_height_width_inputs_outputs() -> None:
    model = random_weights(build())
    state = weights.to_torch(outline_net(**CONV), describe(model).weights)
    kernel, bias = model.get_weights()[2:4]
    np.testing.assert_array_equal(state["conv2.weight"], np.einsum("hwio->oihw", kernel))
    np.testing.assert_array_equal(state["conv2.bias"], bias)
    dense = model.get_weights()[6].reshape(3, 3, 11, 10)
    np.testing.assert_array_equal(state["dense.weight"], np.einsum("hwco->ochw", dense).reshape(10, -1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": [np.ones((3, 3, 5, 7), "f4")]}, r"layer second has weights of shapes \[\(3, 3, 5, 7\)\], expected"),
        (
            {"second": [np.ones((5, 3, 3, 7), "f4"), np.ones(7, "f4")]},
            r"layer second has .*, expected \[\(3, 3, 5, 7\), \(7,\)\]",
        ),
        ({"second": [np.ones((3, 3, 5, 7), "f4"), np.full(7, np.nan, "f4")]}, r"layer second has .* NaN or infinite"),
        ({"fifth": []}, "it has weights of 5 layers, expected 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_their_layer(changes: dict[str, Any], message: str) -> None:
    names = ("first", "second", "third", "fourth")
    given = dict(zip(names, weights.to_keras(build_net(**CONV)), strict=True))
    with pytest.raises(InputError, match=message):
        weights.to_torch(outline_net(**CONV), {**given, **changes})


def test_images_of_another_size_are_refused_by_the_dense_layer() -> None:
    inputs = x = keras.Input((32, 32, 1))
    for layer in build(*NOTEBOOK).layers[1:]:
        x = type(layer).from_config(layer.get_config())(x)
    with pytest.raises(InputError, match=r"layer dense\w* has weights of shapes \[\(176, 10\), "):
        weights.to_torch(outline_net(**CONV), describe(keras.Model(inputs, x)).weights)
