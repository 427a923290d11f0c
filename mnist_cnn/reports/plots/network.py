"""Pictures of what a network computes: digits, kernels, response maps, evidence."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from mnist_cnn.reports.network import ResponseMaps
from mnist_cnn.reports.plots.style import INK, SIGNED, TILES, hide_ticks, new_figure, with_style

_GAP = 1  # pixels between tiles
_ROWS = 8  # of response maps


@with_style
def plot_digits(images: Shaped[Tensor, "n 1 28 28"], titles: Sequence[str], columns: int = 8) -> Figure:
    """Show images, each with its title."""
    rows = -(-len(images) // columns)
    figure, panels = new_figure(8, 1.15 * rows, rows, columns)
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    for axes, image, title in zip(panels, images, titles, strict=False):
        hide_ticks(axes)
        axes.imshow(image[0].numpy(), cmap=INK)
        axes.set_title(title, fontsize=7, pad=2, loc="center")
    return figure


@with_style
def plot_kernels(kernels: Float[Tensor, "filters height width"]) -> Figure:
    """Show the kernels of the first layer. Red: what the filter looks for; blue: what must not be there."""
    figure, (axes,) = new_figure(6, 0.8 * -(-len(kernels) // 8) + 0.4)
    most = float(kernels.abs().max())
    shown = axes.imshow(_mosaic(kernels, 8), cmap=SIGNED, vmin=-most, vmax=most)
    axes.set_title(f"the {len(kernels)} kernels of the first layer")
    hide_ticks(axes)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="weight")
    return figure


@with_style
def plot_response_maps(image: Shaped[Tensor, "1 28 28"], blocks: Sequence[ResponseMaps]) -> Figure:
    """Show an image, and to its right all response maps of every block. Dark: a strong response, within its block."""
    columns = [-(-len(block.maps) // _ROWS) for block in blocks]
    widths = [4, *columns]  # of the image: four maps
    figure, (first, *panels) = new_figure(0.42 * sum(widths), 0.42 * _ROWS + 0.5, 1, len(widths), widths=widths)
    first.imshow(image[0].numpy(), cmap=INK)
    first.set_title("image\n28×28", loc="center")
    hide_ticks(first)
    for axes, (layer, maps), wide in zip(panels, blocks, columns, strict=True):
        filters, height, width = maps.shape
        axes.imshow(_mosaic(maps, wide), cmap=TILES, vmin=0, vmax=float(maps.max()) or 1)
        axes.set_title(f"{layer}: {filters} maps\nof {height}×{width}", loc="center")
        hide_ticks(axes)
    return figure


@with_style
def plot_evidence(
    images: Shaped[Tensor, "n 1 28 28"], evidence: Sequence[Float[Tensor, "28 28"]], titles: Sequence[str]
) -> Figure:
    """Show where in each digit the evidence for the answer lies. Red: it speaks for the answer; blue: against it."""
    rows = -(-len(images) // 5)
    figure, panels = new_figure(8, 1.7 * rows, rows, 5)
    most = max(float(each.abs().max()) for each in evidence)
    for axes in panels[len(images) :]:
        axes.set_axis_off()
    for axes, image, each, title in zip(panels, images, evidence, titles, strict=False):
        hide_ticks(axes)
        shown = axes.imshow(each.numpy(), cmap=SIGNED, vmin=-most, vmax=most)
        axes.contour(image[0].numpy(), levels=[127], colors="black", linewidths=0.8)
        axes.set_title(title, fontsize=8, pad=2, loc="center")
    figure.colorbar(shown, ax=list(panels), shrink=0.7, label="fall of the logit")
    return figure


def _mosaic(tiles: Float[Tensor, "n height width"], columns: int) -> Float[np.ndarray, "rows columns"]:
    """Put tiles side by side, in rows, with gaps (NaN, which is drawn as nothing)."""
    n, height, width = tiles.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), np.nan)
    for place, tile in enumerate(tiles):
        y, x = divmod(place, columns)
        sheet[y * (height + _GAP) :, x * (width + _GAP) :][:height, :width] = tile.numpy()
    return sheet
