"""The networks: images (batch, 1, 28, 28), values 0-1, to logits (batch, 10)."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnist_cnn.errors import InputError, one_of, whole_number

CLASSES: Final = 10
PADDINGS = ("valid", "same")
POOLINGS = ("max", "average", "stride", "none")
LARGEST = 4096  # filters or units; bounds what a checkpoint or a typing error can make us allocate
DEEPEST = 8  # convolutions


class ConvNet(nn.Sequential):
    """3x3 convolutions with ReLU, pooling between them, and a linear head.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, 10). `padding` is "valid" (each convolution
    takes 2 off height and width) or "same" (zeros keep them). `pooling`, by 2 after every convolution but the last,
    is "max", "average", "stride" (the convolution itself takes every second position), or "none".
    Max pooling stands before ReLU: the two commute exactly, and ReLU then works on a quarter of the values.
    Raises InputError for other values, and where pooling leaves a convolution no pixels.
    """

    def __init__(self, padding: str = "valid", pooling: str = "max", channels: Sequence[int] = (32, 64, 128)) -> None:
        one_of("model.padding", padding, PADDINGS)
        one_of("model.pooling", pooling, POOLINGS)
        if not isinstance(channels, Sequence) or isinstance(channels, str) or not 1 <= len(channels) <= DEEPEST:
            raise InputError(f"model.channels={channels} cannot be used: give a list of 1 to {DEEPEST} filter counts")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, previous = 28, 1
        for number, filters in enumerate(channels, start=1):
            whole_number("a filter count of model.channels", filters, 1, LARGEST)
            reduced = pooling != "none" and number < len(channels)
            block = _block(side, previous, filters, padding, pooling if reduced else "none")
            layers.update((f"{name}{number}", layer) for name, layer in block.items())
            side = _side_after(side, padding, pooling if reduced else "none")
            if side < 1:
                raise InputError(f"model.channels={list(channels)} is too deep: layer {number} has no pixels left")
            previous = filters
        layers["flatten"] = nn.Flatten()
        layers["dense"] = nn.Linear(previous * side**2, CLASSES)
        super().__init__(layers)
        self._onednn = pooling != "stride"  # whose padding oneDNN lacks
        initialise_like_keras(self)

    def forward(self, images: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch 10"]:
        """Return logits."""
        *convolutions, flatten, dense = self
        onednn = self.training and self._onednn and _onednn_takes(images)
        x = images.to_mkldnn() if onednn else images.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)  # channels_last
        for layer in convolutions:
            x = layer(x)
        logits: Tensor = dense(flatten(x.to_dense() if x.is_mkldnn else x))
        return logits


class DenseNet(nn.Sequential):
    """One hidden layer with ReLU, which sees pixels without their places: what convolution is compared with.

    Maps images (batch, 1, 28, 28), values in [0, 1], to logits (batch, 10).
    """

    def __init__(self, hidden: int = 512) -> None:
        whole_number("model.hidden", hidden, 1, LARGEST)
        layers = OrderedDict[str, nn.Module]()
        layers["flatten"] = nn.Flatten()
        layers["dense1"] = nn.Linear(28 * 28, hidden)
        layers["relu1"] = nn.ReLU()
        layers["dense"] = nn.Linear(hidden, CLASSES)
        super().__init__(layers)
        initialise_like_keras(self)


NETS: Final[Mapping[str, type[nn.Sequential]]] = {"conv": ConvNet, "dense": DenseNet}


def build_net(name: str = "conv", **options: Any) -> nn.Sequential:
    """Build a network of the closed registry by its name.

    Raises InputError for an unknown name, option or value.
    """
    one_of("model.name", name, NETS)
    for option in options:
        one_of(f"an option of model.name={name}", option, signature(NETS[name]).parameters)
    return NETS[name](**options)


def outline_net(name: str = "conv", **options: Any) -> nn.Sequential:
    """Build a network without memory for its weights, as a file asks for it: a few bytes may ask for gigabytes."""
    with torch.device("meta"):
        return build_net(name, **options)


def initialise_like_keras(net: nn.Module) -> None:
    """Draw kernels from Glorot's uniform distribution (Glorot and Bengio 2010), set biases to zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every layer here has one


def count_parameters(module: nn.Module) -> int:
    """Count the trainable numbers of a network or a layer."""
    return sum(weights.numel() for weights in module.parameters())


class LayerRow(NamedTuple):
    """A line of the layer table; the shape leaves the batch out, channels come first."""

    name: str
    layer: str
    shape: tuple[int, ...]
    parameters: int


@torch.no_grad()
def layer_rows(net: nn.Sequential) -> list[LayerRow]:
    """List the layers that Keras lists: activations and padding belong to a layer."""
    x, rows = torch.zeros(1, 1, 28, 28, device=next(net.parameters()).device), []
    for name, layer in net.named_children():
        x = layer(x)
        if not isinstance(layer, nn.ReLU | nn.ZeroPad2d):
            rows.append(LayerRow(name, type(layer).__name__, tuple(x.shape[1:]), count_parameters(layer)))
    return rows


def layer_table(net: nn.Sequential) -> str:
    """Write the layers as a table, as a Keras user knows it: layer, output shape, parameters, and their total."""
    rows = layer_rows(net)
    lines = [
        f"{f'{row.name} ({row.layer})':24} {' x '.join(map(str, row.shape)):14} {row.parameters:>12,}" for row in rows
    ]
    total = count_parameters(net)
    head = f"{'layer':24} {'output shape':14} {'parameters':>12}"
    rule = "-" * len(head)
    size = f"total: {total:,} parameters ({4 * total / 1024:,.2f} KB)"
    return "\n".join([head, rule, *lines, rule, size])


def _onednn_takes(images: Tensor) -> bool:
    """Whether a training step on the CPU may use oneDNN's own layout, whose pooling keeps bytes, not 64-bit indices."""
    plain = images.device.type == "cpu" and images.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def _block(side: int, inputs: int, filters: int, padding: str, pooling: str) -> dict[str, nn.Module]:
    if pooling == "stride":
        block: dict[str, nn.Module] = {}
        if padding == "same":  # as Keras pads for stride 2: an even side below and to the right alone
            before = side % 2
            block["pad"] = nn.ZeroPad2d((before, 1, before, 1))
        return block | {"conv": nn.Conv2d(inputs, filters, 3, stride=2), "relu": nn.ReLU()}
    convolution = nn.Conv2d(inputs, filters, 3, padding=padding)
    if pooling == "max":
        return {"conv": convolution, "pool": nn.MaxPool2d(2), "relu": nn.ReLU()}
    if pooling == "average":  # does not commute with ReLU
        return {"conv": convolution, "relu": nn.ReLU(), "pool": nn.AvgPool2d(2)}
    return {"conv": convolution, "relu": nn.ReLU()}


def _side_after(side: int, padding: str, pooling: str) -> int:
    if pooling == "stride":
        return (side + 1) // 2 if padding == "same" else (side - 3) // 2 + 1
    kept = side if padding == "same" else side - 2
    return kept if pooling == "none" else kept // 2
