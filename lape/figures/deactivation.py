"""Fig. 2: what deactivating one language's neurons does to every language, with the control of Fig. 8."""

import math
from collections.abc import Callable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lape.figures.style import COLOURS, GREY
from lape.tables.layout import rounded
from lape.tables.perplexity import RANDOM, matrix, nll_change, ppl_change

COLUMNS = ("model", "deactivated", "evaluated", "nll", "ppl", "baseline_nll", "baseline_ppl")

_PAGE = 7.0  # inches, the text width of a two-column page
_LABELLED = 20  # languages up to which a cell has room for its number


def figure2(frame: pd.DataFrame) -> Figure:
    """PPL change, one panel a model: row deactivated, column evaluated (Fig. 2; last row: Fig. 8's control).

    The scale is linear up to 1 and logarithmic above, as the changes span 0 to several hundred.

    Args:
        frame: the table of `lape.tables.perplexity.changes`.
    """

    def norm(low: float, high: float) -> Normalize:
        # At least 10: changes below one point of PPL must not look like an effect.
        return SymLogNorm(linthresh=1, vmin=low, vmax=max(high, 10), base=10)

    return _panels(frame, ppl_change, norm, "PPL change")


def figure2_log_ratio(frame: pd.DataFrame) -> Figure:
    """ln(PPL / baseline PPL), the NLL change in nats per token, laid out as `figure2`; comparable over languages.

    Args:
        frame: the table of `lape.tables.perplexity.changes`.
    """

    def norm(low: float, high: float) -> Normalize:
        # At least 0.5 nats, for the same reason.
        return Normalize(low, max(high, 0.5))

    return _panels(frame, nll_change, norm, "ln(PPL / baseline PPL), nats per token")


def _panels(
    frame: pd.DataFrame,
    value: Callable[[pd.DataFrame], pd.Series],
    norm: Callable[[float, float], Normalize],
    label: str,
) -> Figure:
    """One heatmap a model, all on one colour scale."""
    matrices = {model: matrix(block, value(block)) for model, block in frame.groupby("model", sort=False)}
    scale = norm(min(0.0, value(frame).min()), value(frame).max())
    size = max(len(cells.columns) for cells in matrices.values())
    cell = 0.42 if size <= _LABELLED else 0.13
    side = size * cell + 0.6
    across = min(len(matrices), max(int(_PAGE / side), math.ceil(math.sqrt(len(matrices)))))
    down = math.ceil(len(matrices) / across)

    width, height = across * side + 0.7, down * (side + 1.35 * cell + 0.25)
    figure = Figure(figsize=(width, height), layout="compressed")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(matrices) :]:
        axis.remove()
    axes = axes[: len(matrices)]
    for number, (axis, (model, cells)) in enumerate(zip(axes, matrices.items(), strict=True)):
        _heatmap(axis, cells, scale)
        axis.set_title(model)
        if number % across == 0:
            axis.set_ylabel("deactivated language")
        if number + across >= len(matrices):
            axis.set_xlabel("evaluated language")
    # An eighth of an inch wide, whatever the size of the figure.
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=list(axes), aspect=8 * height, pad=0.15 / width)
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)
    if isinstance(scale, SymLogNorm):
        ticks = [0.0, *(10.0**power for power in range(math.ceil(math.log10(scale.vmax)) + 1))]
        ticks = [tick for tick in ticks if tick <= scale.vmax]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    return figure


def _heatmap(axis: Axes, cells: pd.DataFrame, scale: Normalize) -> None:
    """Cells with their numbers; the random control stands apart below."""
    rows, columns = cells.shape
    labelled = max(rows - 1, columns) <= _LABELLED
    tops = np.arange(rows) + np.where(cells.index == RANDOM, max(0.35, rows / 40), 0.0)
    for block in (cells.index != RANDOM, cells.index == RANDOM):
        if block.any():
            edges = np.append(tops[block], tops[block][-1] + 1)
            corner, sides = (0, edges[0]), (columns, edges[-1] - edges[0])
            axis.add_patch(
                Rectangle(corner, *sides, fill=False, edgecolor=GREY, linewidth=0.5, clip_on=False, zorder=3)
            )
            axis.pcolormesh(
                np.arange(columns + 1),
                edges,
                cells.to_numpy()[block],
                norm=scale,
                cmap=COLOURS,
                edgecolors="white" if labelled else "none",
                linewidth=0.6,
                # Ten thousand rectangles a panel would choke a viewer.
                rasterized=not labelled,
            )
    if labelled:
        _numbers(axis, cells, tops, scale)
    axis.set_aspect("equal")
    axis.set_ylim(tops[-1] + 1, 0)
    upright = columns <= _LABELLED and max(map(len, cells.columns)) <= 3
    axis.set_xticks(np.arange(columns) + 0.5, cells.columns, rotation=0 if upright else 90)
    axis.set_yticks(tops + 0.5, cells.index)
    axis.tick_params(length=0, labelsize=None if labelled else 6)
    axis.spines[:].set_visible(False)


def _numbers(axis: Axes, cells: pd.DataFrame, tops: np.ndarray, scale: Normalize) -> None:
    """Write every cell's number, black or white, whichever its colour leaves readable."""
    shades = matplotlib.colormaps[COLOURS](scale(cells.to_numpy()))[..., :3]
    luminance = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    for (row, column), number in np.ndenumerate(cells.to_numpy()):
        # WCAG's point of equal contrast is 0.18; printed in grey, mid blues carry white better.
        colour = "black" if luminance[row, column] > 0.22 else "white"
        place = column + 0.5, tops[row] + 0.5
        axis.text(*place, rounded(number), color=colour, fontsize=6.5, ha="center", va="center")
