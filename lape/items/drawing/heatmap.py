"""Heatmaps: a matrix as coloured cells with their numbers."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lape.items.drawing.style import COLOURS, GREY, LABELLED, SIGNED, in_column, text_width
from lape.items.layout import rounded

# Inches: the side of a cell with a number, the least side of one in a column, and the room for the labels of rows.
_NUMBER, _TIGHT, _LABELS = 0.36, 0.31, 0.6


def cell_side(cells: pd.DataFrame) -> float:
    """The side of a cell in inches: room for a number, or for a colour alone in a matrix of many cells."""
    if not _labelled(cells):
        return 0.13
    return min(_NUMBER, (text_width() - _LABELS) / max(cells.shape)) if in_column() else _NUMBER


def _labelled(cells: pd.DataFrame) -> bool:
    """Whether each cell has room for its number."""
    most = int((text_width() - _LABELS) / _TIGHT) if in_column() else LABELLED
    return max(cells.shape) <= most


def heatmap(
    axis: Axes,
    cells: pd.DataFrame,
    scale: Normalize,
    bold: pd.DataFrame | None = None,
    text: pd.DataFrame | None = None,
) -> None:
    """Draw a matrix, first row on top, each cell in its colour with its number, up to 20 rows and columns.

    Args:
        axis: where to draw; its ticks become the labels of rows and columns.
        cells: numbers; NaN leaves a cell blank.
        scale: from number to colour, shared by panels that are to be compared. One that reaches as far below 0 as above
            has the colours of signed changes.
        bold: of the shape of `cells`, true where the number stands in bold.
        text: of the shape of `cells`, the text to write in place of the rounded number.
    """
    (rows, columns), labelled = cells.shape, _labelled(cells)
    axis.pcolormesh(
        np.arange(columns + 1),
        np.arange(rows + 1),
        cells.to_numpy(float),
        norm=scale,
        cmap=_colours(scale),
        edgecolors="white" if labelled else "none",
        linewidth=0.6,
        # A viewer would be slow with ten thousand rectangles in a panel.
        rasterized=not labelled,
    )
    axis.add_patch(Rectangle((0, 0), columns, rows, fill=False, edgecolor=GREY, linewidth=0.5, clip_on=False, zorder=3))
    if labelled:
        _numbers(axis, cells, scale, bold, text)
    axis.set_aspect("equal")
    axis.set_ylim(rows, 0)
    upright = labelled and max(len(str(name)) for name in cells.columns) <= 3
    axis.set_xticks(np.arange(columns) + 0.5, cells.columns, rotation=0 if upright else 90)
    axis.set_yticks(np.arange(rows) + 0.5, cells.index)
    axis.tick_params(length=0, labelsize=None if labelled else 6)
    axis.spines[:].set_visible(False)


def panel_size(width: float, height: float) -> tuple[float, float]:
    """The size in inches of a figure whose panels take `width` times `height`, with room for a `colour_bar`."""
    return (width, height + 0.6) if in_column() else (width + 0.8, height)


def shared_bar(figure: Figure, axes: list[Axes], scale: Normalize, label: str, least: float = 0) -> Colorbar:
    """The `colour_bar` of all panels: right of them, or in a column below them."""
    width, height = figure.get_size_inches()
    place = {"location": "bottom", "aspect": 8 * width, "pad": 0.2 / height} if in_column() else {}
    place = place or {"aspect": 8 * height, "pad": 0.12 / width}
    return colour_bar(figure, axes, scale, label, least, **place)


def colour_bar(figure: Figure, axes: list[Axes], scale: Normalize, label: str, least: float = 0, **place) -> Colorbar:
    """The scale of some panels, beside them; a symmetric logarithmic one is labelled at zero and powers of ten.

    Args:
        figure: the drawing.
        axes: the panels that share the scale.
        scale: as given to `heatmap`. The bar of one that clips ends in a point.
        label: what the colours mean, with the unit.
        least: the smallest number that is shown. The bar of signed changes ends there, or at 0.
        **place: further options of `Figure.colorbar`, such as `aspect`: 8 times the length in inches makes the bar an
            eighth of an inch wide.
    """
    extend = "max" if scale.clip else "neither"
    bar = figure.colorbar(ScalarMappable(scale, _colours(scale)), ax=axes, extend=extend, **place)
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)
    if isinstance(scale, SymLogNorm):
        top = math.floor(math.log10(scale.vmax))
        powers = range(top + 1)
        labels = [f"{10**power}" if power < 4 else f"1e{power}" for power in powers]
        ticks = {0.0: "0"} | dict(zip((10.0**power for power in powers), labels, strict=True))
        ticks |= {-tick: f"-{label}" for tick, label in ticks.items() if tick and -tick >= least}
        bar.set_ticks(list(ticks), labels=list(ticks.values()), minor=False)
    if _colours(scale) == SIGNED:
        side = bar.ax.set_xlim if bar.orientation == "horizontal" else bar.ax.set_ylim
        side(min(least, 0), scale.vmax)
    return bar


def _colours(scale: Normalize) -> str:
    return SIGNED if scale.vmin == -scale.vmax else COLOURS


def _numbers(
    axis: Axes, cells: pd.DataFrame, scale: Normalize, bold: pd.DataFrame | None, text: pd.DataFrame | None
) -> None:
    """Write every cell's number, black or white, whichever its colour leaves readable."""
    values = cells.to_numpy(float)
    shades = matplotlib.colormaps[_colours(scale)](scale(values))[..., :3]
    luminance = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    for (row, column), number in np.ndenumerate(values):
        if np.isnan(number):
            continue
        axis.text(
            column + 0.5,
            row + 0.5,
            rounded(number) if text is None else text.iat[row, column],
            # WCAG's point of equal contrast is 0.18. The threshold is higher because white is easier to read than
            # black on a medium blue that is printed in grey.
            color="black" if luminance[row, column] > 0.22 else "white",
            fontweight="bold" if bold is not None and bold.iat[row, column] else "normal",
            fontsize=6.5,
            ha="center",
            va="center",
        )
