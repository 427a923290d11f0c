import pytest

from mnist_cnn.model.nets import ConvNet, DenseNet
from mnist_cnn.model.summary import count_parameters, layer_rows, layer_table


@pytest.mark.parametrize(
    ("padding", "shapes"),
    [
        ("valid", [(32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 5, 5), (128, 3, 3), (1152,), (10,)]),
        ("same", [(32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (128, 7, 7), (6272,), (10,)]),
    ],
)
def test_layer_shapes_are_the_notebooks(padding: str, shapes: list[tuple[int, ...]]) -> None:
    rows = layer_rows(ConvNet(padding))
    assert [row.shape for row in rows] == shapes
    assert [row.parameters for row in rows if row.parameters][:3] == [320, 18_496, 73_856]


def test_activations_and_padding_are_no_rows_of_their_own() -> None:
    assert [row.layer for row in layer_rows(ConvNet("same", "stride", [4, 4]))] == [
        *("Conv2d", "Conv2d", "Flatten", "Linear")
    ]
    assert [row.name for row in layer_rows(DenseNet(8))] == ["flatten", "dense1", "dense"]


def test_the_layer_table_ends_with_the_total_in_kilobytes() -> None:
    assert layer_table(ConvNet()).splitlines()[-1] == "total: 104,202 parameters (407.04 KB)"
    assert "conv1 (Conv2d)           32 x 26 x 26            320" in layer_table(ConvNet())


def test_parameters_of_a_layer_are_counted() -> None:
    assert count_parameters(ConvNet().conv2) == 18_496
