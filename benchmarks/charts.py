"""Draw the charts of benchmarks/README.md from its own tables: `python -m benchmarks.charts`.

Each is a transparent PNG of 1,280 pixels, to be shown 640 wide: NAME.png on a light page, NAME-dark.png on a dark one.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from mnist_cnn.cli import run_command

FOLDER: Final = Path(__file__).parent
INKS: Final = {"": "#1f2328", "-dark": "#e6edf3"}  # the text of GitHub's two themes
COLOURS: Final = ("#1f83c4", "#d55e00", "#0e9e73", "#c06a9b")  # at least 3:1 on either
GREY: Final = "#808080"
WIDTH: Final = 6.4  # inches

Value = tuple[float, float]  # mean and standard deviation


def main() -> None:
    """Draw all charts."""
    for name, chart in CHARTS.items():
        save(chart(), FOLDER / f"{name}.png")


def save(figure: Figure, file: Path) -> None:
    """Write a figure with dark text, and as FILE-dark with light text, both on nothing."""
    figure.draw_without_rendering()  # creates the labels of the ticks
    for suffix, ink in INKS.items():
        for text in figure.findobj(Text):
            text.set_color(ink)
        figure.savefig(file.with_stem(file.stem + suffix), dpi=1280 / figure.get_figwidth(), transparent=True)


def read_table(head: str) -> dict[str, list[str]]:
    """Return the cells of the table whose header contains `head`, row by row, by their first cell."""
    lines = (FOLDER / "README.md").read_text("utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|") and head in line)
    rows: dict[str, list[str]] = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip(" `") for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


def numbers(cell: str) -> list[float]:
    """Return all numbers of a cell."""
    return [float(each) for each in re.findall(r"\d+(?:\.\d+)?", re.sub(r",(?=\d{3})", "", cell))]


def values(cell: str) -> list[Value]:
    """Return mean and standard deviation of each value in a cell."""
    found = numbers(cell)
    return list(zip(found[::2], found[1::2], strict=True))


def compare() -> Figure:
    """Draw a bar for each training loop: the median time per step, and its range."""
    rows = {name: (numbers(cells[0])[0], numbers(cells[1])) for name, cells in read_table("| ms a step |").items()}
    figure, (axes,) = _new_figure(3.4)
    names = [*rows][::-1]
    middles = [rows[name][0] for name in names]
    ranges = [[abs(rows[name][0] - rows[name][1][end]) for name in names] for end in (0, 1)]
    colours = [COLOURS[1] if name == "ours" else GREY for name in names]
    bars = axes.barh(names, middles, xerr=ranges, color=colours, ecolor=COLOURS[0], capsize=3)
    axes.bar_label(bars, [f"{middle:.1f}" for middle in middles], padding=8)
    axes.set_xlabel("milliseconds per step of 64 images, and range")
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    return figure


def dense_vs_conv() -> Figure:
    """Draw accuracy by the number of training images."""
    rows = read_table("| training images | convolution")
    images = [numbers(name)[0] for name in rows]
    figure, (axes,) = _new_figure(3.2)
    for place, (name, colour) in enumerate(zip(("convolution", "dense"), COLOURS, strict=False)):
        _line(axes, images, [values(cells[place])[0] for cells in rows.values()], name, colour)
    axes.set_xscale("log")
    axes.set_xticks(images, [*rows])
    axes.minorticks_off()
    axes.set(xlabel="training images", ylabel="test accuracy")
    axes.legend(frameon=False)
    return figure


def dense_vs_conv_distorted() -> Figure:
    """Draw accuracy on distorted test images, a panel for each distortion."""
    rows = read_table("| all 55,000; accuracy on")
    figure, panels = _new_figure(3.0, 3)
    for axes, (head, cells) in zip(panels, rows.items(), strict=True):
        strengths, (kind, *_, unit) = numbers(head), head.split()
        for cell, name, colour in zip(cells, ("convolution", "dense"), COLOURS, strict=False):
            _line(axes, strengths, values(cell), name, colour)
        axes.set_xticks(strengths, [f"{each:g}" for each in strengths])
        axes.set(xlabel=unit, ylim=(0, 1))
        axes.set_title(kind.rstrip(","))
    panels[0].set_ylabel("accuracy")
    panels[0].legend(frameon=False, loc="lower left")
    return figure


def padding() -> Figure:
    """Draw the accuracy of both paddings."""
    rows = read_table("| shapes after each convolution")
    figure, (axes,) = _new_figure(1.9)
    for number, (name, cells) in enumerate(rows.items()):
        for place, colour, label in ((2, COLOURS[0], "validation"), (3, COLOURS[1], "test")):
            (mean, spread), y = values(cells[place])[0], number + (0.12 if label == "test" else -0.12)
            axes.errorbar(mean, y, xerr=spread, fmt="o", color=colour, capsize=3, label=label if not number else None)
        axes.annotate(name, (0, number), xycoords=("axes fraction", "data"), xytext=(-8, 0),
                      textcoords="offset points", ha="right", va="center")  # fmt: skip
    axes.set_yticks([])
    axes.set(xlabel="accuracy", ylim=(-0.5, len(rows) - 0.5))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def pooling() -> Figure:
    """Draw loss in validation and accuracy in the test after 20 epochs, by pooling."""
    rows, names = read_table("| `max` | `average`"), ("max", "average", "stride", "none")
    figure, panels = _new_figure(3.0, 2)
    shown = {"val/loss, epoch 20": "validation loss", "test/acc": "test accuracy"}
    for axes, (row, title) in zip(panels, shown.items(), strict=True):
        means, spreads = zip(*(values(cell)[0] for cell in rows[row]), strict=True)
        for name, mean, spread, colour in zip(names, means, spreads, COLOURS, strict=True):
            axes.errorbar(name, mean, spread, fmt="o", color=colour, capsize=4, markersize=7)
        axes.set_title(f"{title}, epoch 20")
        axes.margins(x=0.15)
    panels[0].set_ylim(bottom=0)
    return figure


def pooling_distorted() -> Figure:
    """Draw accuracy on distorted test images, by pooling."""
    rows, names = read_table("| `max` | `average`"), ("max", "average", "stride", "none")
    figure, (shift, others) = _new_figure(3.2, 2)
    shifted = next(row for row in rows if row.startswith("shifted"))
    pixels = numbers(shifted)
    for place, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        shift.plot(pixels, numbers(rows[shifted][place]), marker="o", color=colour, label=name)
        for number, row in enumerate(("turned by 30 degrees", "elastic, 2 pixels")):
            mean, spread = values(rows[row][place])[0]
            others.errorbar(number + 0.12 * (place - 1.5), mean, spread, fmt="o", color=colour, capsize=3)
    shift.set_xticks(pixels, [f"{each:g}" for each in pixels])
    shift.set(xlabel="shift in pixels", ylabel="accuracy")
    shift.legend(frameon=False)
    others.set_xticks((0, 1), ("turned by 30°", "elastic, 2 pixels"))
    others.margins(x=0.2)
    return figure


CHARTS: Final[dict[str, Callable[[], Figure]]] = {
    each.__name__: each
    for each in (compare, dense_vs_conv, dense_vs_conv_distorted, padding, pooling, pooling_distorted)
}


def _new_figure(height: float, panels: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False).flat)
    for each in axes:
        each.grid(color=GREY, alpha=0.3, linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(GREY)
        each.tick_params(color=GREY)
    return figure, axes


def _line(axes: Axes, places: Sequence[float], found: Sequence[Value], name: str, colour: str) -> None:
    means, spreads = zip(*found, strict=True)
    axes.errorbar(places, means, spreads, marker="o", capsize=3, color=colour, label=name)


if __name__ == "__main__":
    run_command(main)
