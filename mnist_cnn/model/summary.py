"""The layer table, as Keras prints it: layer, output shape, parameters."""

from typing import NamedTuple

import torch
from torch import nn

from mnist_cnn.model.backend import evaluation_mode


class LayerRow(NamedTuple):
    """A line of the layer table. The shape excludes the batch; channels come first."""

    name: str
    layer: str
    shape: tuple[int, ...]
    parameters: int


def count_parameters(module: nn.Module) -> int:
    """Count the parameters of a network or a layer."""
    return sum(weights.numel() for weights in module.parameters())


@torch.no_grad()
def layer_rows(net: nn.Module) -> list[LayerRow]:
    """List the layers as Keras does, without activations and padding. A network that is no nn.Sequential is one row."""
    x, rows = torch.zeros(1, 1, 28, 28, device=next(net.parameters()).device), []
    with evaluation_mode(net):
        for name, layer in net.named_children() if isinstance(net, nn.Sequential) else [("net", net)]:
            x = layer(x)
            if not isinstance(layer, nn.ReLU | nn.ZeroPad2d):
                rows.append(LayerRow(name, type(layer).__name__, tuple(x.shape[1:]), count_parameters(layer)))
    return rows


def layer_table(net: nn.Module) -> str:
    """Return the layers as a table, with the total number of parameters below."""
    head = f"{'layer':24} {'output shape':14} {'parameters':>12}"
    lines = [
        f"{f'{row.name} ({row.layer})':24} {' x '.join(map(str, row.shape)):14} {row.parameters:>12,}"
        for row in layer_rows(net)
    ]
    total = count_parameters(net)
    rule = "-" * len(head)
    return "\n".join([head, rule, *lines, rule, f"total: {total:,} parameters ({4 * total / 1024:,.2f} KB)"])
