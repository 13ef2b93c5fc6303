"""Figs. 6 and 7: how alike languages are represented, layer by layer."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lape.items.drawing.lines import COLOURS, DASHES, name_ends
from lape.items.drawing.style import BLUE, GREY, grid, grid_size
from lape.items.layers import heading

_KEYS = ("model", "layer", "language")
_CORRECTED = ("corrected", "corrected_low", "corrected_high")
COLUMNS = (*_KEYS, "other", "ses", "ses_low", "ses_high", "misaligned", *_CORRECTED, "neurons")
DOMINANCE_COLUMNS = (*_KEYS, "target", "dominance", "dominance_low", "dominance_high", *_CORRECTED)

_BARS = "#E0E0E0"


def similarity_by_layer(frame: pd.DataFrame) -> Figure:
    """One row per model: mean SES against the layer, uncorrected on the left and corrected on the right.

    Bars behind the lines are the neurons of each layer. A title has Spearman's correlation of the line with the bars,
    over layers. On the left the grey line is the mean SES of sentences that are not translations of one another. On the
    right each thin line is a pair of languages; the highest and the lowest pair are named in the layer where the mean
    is highest.

    Args:
        frame: the table of `lape.items.structure.rows.similarity_by_layer`.
    """
    figure, axes = _panels(frame)
    for (raw, corrected), (model, block) in zip(axes, frame.groupby("model", sort=False), strict=True):
        mean = block[block["language"] == ""]
        _bars(raw, mean)
        raw.plot(mean["layer"], mean["misaligned"], color=GREY, linewidth=0.9, label="misaligned sentences")
        _line(raw, mean, "ses", BLUE, width=1.6, label="aligned sentences")
        raw.legend(frameon=False, fontsize=7)
        raw.set_title(f"{model}, {_correlation(mean, 'ses')}")
        raw.set_ylabel("mean SES")
        _bars(corrected, mean)
        _pairs(corrected, block, peak=mean.loc[mean["corrected"].idxmax(), "layer"])
        _line(corrected, mean, "corrected", BLUE, width=1.6)
        corrected.set_title(f"{model}, {_correlation(mean, 'corrected')}")
        corrected.set_ylabel("SES corrected for chance")
    return figure


def dominance_by_layer(frame: pd.DataFrame) -> Figure:
    """One row per model: dominance of every target language against the layer, uncorrected and corrected.

    Uncorrected values lie near 1, so their axis is logarithmic in the distance from 1.

    Args:
        frame: the table of `lape.items.structure.rows.dominance_by_layer`.
    """
    figure, axes = _panels(frame)
    for row, (model, block) in zip(axes, frame.groupby("model", sort=False), strict=True):
        mean = block[block["language"] == ""]
        colours = {target: COLOURS[place % len(COLOURS)] for place, target in enumerate(mean["target"].unique())}
        for axis, measure in zip(row, ("dominance", "corrected"), strict=True):
            for place, (target, colour) in enumerate(colours.items()):
                # Seven colours and three dashes tell 21 lines apart; neighbouring lines differ in both.
                lines = mean[mean["target"] == target]
                _line(axis, lines, measure, colour, dashes=DASHES[place % len(DASHES)], band=0.08)
            axis.set_title(model)
        row[0].set_ylabel("dominance")
        row[1].set_ylabel("dominance corrected for chance")
        _near_one(row[0])
        last = mean[mean["layer"] == mean["layer"].max()].set_index("target")
        for axis, measure in zip(row, ("dominance", "corrected"), strict=True):
            name_ends(axis, dict(last[measure]), colours, gap=min(0.06, 1 / len(colours)))
    return figure


def _correlation(mean: pd.DataFrame, measure: str) -> str:
    """Spearman's correlation of a measure with the number of neurons, over layers."""
    value = mean[measure].rank().corr(mean["neurons"].rank())
    return "ρ undefined" if np.isnan(value) else f"ρ = {value:.2f}"


def _panels(frame: pd.DataFrame) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [models, 2]: on the left for the measure that the paper draws, on the right corrected."""
    depths = frame.groupby("model", sort=False)["layer"].max()
    figure = Figure(figsize=grid_size(len(depths), 2, 2.5), layout="constrained")
    axes = grid(figure, len(depths), 2)
    for row, depth in zip(axes, depths, strict=True):
        for axis in row:
            axis.set_xlim(0.5, depth + 0.5)
            axis.xaxis.get_major_locator().set_params(integer=True, nbins=8)
            axis.set_xlabel(heading([depth]))
            axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(
    axis: Axes,
    rows: pd.DataFrame,
    measure: str,
    colour: str,
    dashes: str = "-",
    width: float = 1.1,
    band: float = 0.2,
    label: str | None = None,
) -> None:
    """Draw one measure against the layer as a line, with its interval as a band."""
    low, high = rows[f"{measure}_low"], rows[f"{measure}_high"]
    axis.fill_between(rows["layer"], low, high, color=colour, alpha=band, linewidth=0)
    axis.plot(rows["layer"], rows[measure], dashes, color=colour, linewidth=width, label=label)


def _bars(axis: Axes, mean: pd.DataFrame) -> None:
    """Draw the neurons of each layer as bars behind the curves, on an axis of their own on the right."""
    behind = axis.twinx()
    behind.bar(mean["layer"], mean["neurons"], width=0.8, color=_BARS)
    behind.set_ylabel("neurons")
    behind.yaxis.get_major_locator().set_params(integer=True, nbins=5)
    behind.spines[["top", "left"]].set_visible(False)
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)


def _pairs(axis: Axes, block: pd.DataFrame, peak: int) -> None:
    """Draw one thin line per pair of languages, and name the highest and the lowest pair in the layer `peak`."""
    names = {language: place for place, language in enumerate(block["language"].unique())}
    once = block[(block["language"] != "") & (block["language"].map(names) < block["other"].map(names))]
    curves = once.pivot(index="layer", columns=["language", "other"], values="corrected")
    axis.plot(curves.index, curves, color=GREY, linewidth=0.4)
    there = curves.loc[peak]
    for pair, (side, anchor) in {there.idxmin(): (-1, "top"), there.idxmax(): (1, "bottom")}.items():
        axis.plot(curves.index, curves[pair], color="#555555", linewidth=0.6)
        place = {"xytext": (0, 2 * side), "textcoords": "offset points", "ha": "center", "va": anchor}
        axis.annotate("-".join(pair), (peak, there[pair]), fontsize=6.5, **place)


# Float32 cannot tell values that are this close to 1 from 1.
_CLOSE = 1e-9


def _near_one(axis: Axes) -> None:
    """Make the vertical axis logarithmic in the distance from 1, with ticks at round distances."""
    functions = (lambda value: -np.log10(np.maximum(1 - value, _CLOSE)), lambda place: 1 - 10.0**-place)
    axis.set_yscale("function", functions=functions)
    low, high = axis.get_ylim()
    ticks = [1 - digit * 10.0**-power for power in range(9) for digit in (5, 2, 1)]
    if sum(low <= tick <= high for tick in ticks) > 2:
        axis.yaxis.set_major_locator(FixedLocator(ticks))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:.7g}")
