"""Pictures of what a network computes: digits, kernels, response maps, evidence."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure
from torch import Tensor

from mnist_cnn.reports.network import ResponseMaps
from mnist_cnn.reports.plots.style import INK, SIGNED, TILES, hide_ticks, new_figure, with_style

_GAP = 1  # pixels between tiles
_ZOOM = 4  # pixels per weight, so that the grey edges of kernels are thin
_COLUMNS = 8  # of kernels; of response maps as many or twice as many, so that they can be read on a phone
_WIDTH = 4.8  # inches, of the response maps: text keeps its size on a phone


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
    columns = min(_COLUMNS, len(kernels))
    enlarged = kernels.repeat_interleave(_ZOOM, dim=1).repeat_interleave(_ZOOM, dim=2)
    sheet = np.pad(_mosaic(enlarged, columns), _GAP, constant_values=np.nan)
    height, width = sheet.shape
    figure, (axes,) = new_figure(5, 4.1 * height / width + 0.3)
    most = float(kernels.abs().max())
    shown = axes.imshow(sheet, cmap=SIGNED, vmin=-most, vmax=most)
    axes.set_title(f"the {len(kernels)} kernels of the first layer")
    hide_ticks(axes)
    figure.colorbar(shown, ax=axes, label="weight")
    return figure


@with_style
def plot_response_maps(image: Shaped[Tensor, "1 28 28"], blocks: Sequence[ResponseMaps]) -> Figure:
    """Show an image, and below it all response maps of every block. Dark: a strong response, within its block."""
    sheets = [_mosaic(maps, _COLUMNS if len(maps) <= 4 * _COLUMNS else 2 * _COLUMNS) for _, maps in blocks]
    heights = [0.25, *(sheet.shape[0] / sheet.shape[1] for sheet in sheets)]  # as shares of the width
    titled = 0.35 * len(heights)  # inches
    figure, (first, *panels) = new_figure(_WIDTH, _WIDTH * sum(heights) + titled, len(heights), heights=heights)
    first.imshow(image[0].numpy(), cmap=INK)
    first.set_title("image, 28×28", loc="center")
    hide_ticks(first)
    for axes, (layer, maps), sheet in zip(panels, blocks, sheets, strict=True):
        filters, height, width = maps.shape
        axes.imshow(sheet, cmap=TILES, vmin=0, vmax=float(maps.max()) or 1)
        axes.set_title(f"{layer}: {filters} maps of {height}×{width}", loc="center")
        hide_ticks(axes)
    return figure


@with_style
def plot_evidence(
    images: Shaped[Tensor, "n 1 28 28"], evidence: Sequence[Float[Tensor, "28 28"]], titles: Sequence[str]
) -> Figure:
    """Show where in each digit the evidence for the answer lies. Red: it speaks for the answer; blue: against it."""
    rows = -(-len(images) // 5)
    figure, panels = new_figure(5, 1.15 * rows, rows, 5)
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
