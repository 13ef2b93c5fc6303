"""How stable the neurons are: intervals of their number, agreement of split halves, and agreement against tokens."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lape.items.drawing.language_panels import language_panels_across, language_panels_width
from lape.items.drawing.style import BLUE, GREY, LABELLED, grid, grid_size
from lape.items.neurons.counts import blocks
from lape.neurons.agreement import ALL
from lape.neurons.convergence import STABLE, tokens_needed

COLUMNS = ("model", "method", "language", "neurons", "low", "high", "jaccard", "jaccard_low", "jaccard_high")
CURVE_COLUMNS = ("model", "method", "language", "tokens", "overlap", "low", "high", "extrapolated")


def stability(frame: pd.DataFrame) -> Figure:
    """One row per model: the number of neurons of each language, and the Jaccard index of split halves, with intervals.

    Args:
        frame: the table of `lape.items.neurons.stability.stability`.
    """
    models = list(blocks(frame))
    most = max(block["language"].nunique() for _, block in models)
    width, height = grid_size(len(models), 2, 1.9)
    figure = Figure(figsize=(min(width, 2.4 + 0.45 * most), height), layout="constrained")
    axes = grid(figure, len(models), 2)
    bottom = min(0.5, frame["jaccard_low"].min() - 0.05)
    for (counts, halves), (title, block) in zip(axes, models, strict=True):
        own = block[block["language"] != ALL]
        _intervals(counts, own, "neurons", "low", "high")
        counts.set_ylabel("neurons")
        counts.set_ylim(0, 1.08 * max(own["high"].max(), own["neurons"].max(), 1))
        counts.yaxis.get_major_locator().set_params(integer=True, nbins=5)
        counts.set_title(title)
        _intervals(halves, block, "jaccard", "jaccard_low", "jaccard_high")
        halves.set_ylabel("Jaccard index of halves")
        halves.set_ylim(max(0, bottom), 1.02)
        halves.set_title(f"{block['neurons'][block['language'] == ALL].iloc[0]:,} neurons in all")
    return figure


def stability_curve(frame: pd.DataFrame) -> Figure:
    """The share of the neurons that is found again from other tokens, against the number of tokens.

    There is one block of panels per model and one panel per language. A set counts as stable above the line at 95%. The
    extrapolated part of a curve is dashed.

    Args:
        frame: the table of `lape.items.neurons.stability.stability_curve`.
    """
    models = list(blocks(frame))
    most = max(block["language"].nunique() for _, block in models)
    across = language_panels_across(most)
    heights = [1.25 * math.ceil(block["language"].nunique() / across) + 0.45 for _, block in models]
    figure = Figure(figsize=(language_panels_width(across), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(models), 1, height_ratios=heights, squeeze=False)
    for part, (title, block) in zip(parts[:, 0], models, strict=True):
        _curves(part, block, across)
        part.suptitle(title, fontsize=9)
        part.supxlabel("tokens of each language", fontsize=8)
        part.supylabel("found again", fontsize=8)
    return figure


def _intervals(axis: Axes, block: pd.DataFrame, value: str, low: str, high: str) -> None:
    """Draw one point per language with its interval. All languages together are grey."""
    places = np.arange(len(block))
    for union, colour in ((False, BLUE), (True, GREY)):
        rows = block[(block["language"] == ALL) == union]
        at = places[(block["language"] == ALL) == union]
        # An interval may lie beside the point, where error bars of negative length would fail. Bars are drawn instead.
        axis.vlines(at, rows[low], rows[high], color=colour, linewidth=3.5, alpha=0.4)
        axis.plot(at, rows[value], "o", color=colour, markersize=2.5)
    names = block["language"].replace(ALL, "all")
    upright = len(block) <= LABELLED and names.str.len().max() <= 3
    axis.set_xticks(places, names, rotation=0 if upright else 90)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(block) - 0.4)
    axis.spines[["top", "right"]].set_visible(False)


def _curves(part: SubFigure, block: pd.DataFrame, across: int) -> None:
    """Draw the panels of one model's languages, row by row, on one scale."""
    languages = block["language"].unique()
    down = math.ceil(len(languages) / across)
    axes = part.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, language in zip(axes, languages, strict=False):
        rows = block[block["language"] == language]
        measured = rows[~rows["extrapolated"]]
        colour = GREY if language == ALL else BLUE
        axis.axhline(STABLE, color="black", linewidth=0.5, linestyle=":")
        axis.fill_between(measured["tokens"], measured["low"], measured["high"], color=colour, alpha=0.25, linewidth=0)
        axis.plot(measured["tokens"], measured["overlap"], "o-", color=colour, markersize=2.5, linewidth=1.2)
        axis.plot(*rows[len(measured) - 1 :][["tokens", "overlap"]].to_numpy().T, "--", color=colour, linewidth=1.2)
        axis.set_title(language + _crossing(measured), fontsize=8, pad=2)
        axis.spines[["top", "right"]].set_visible(False)
    first = axes[0]
    first.set_xscale("log")
    first.set_xlim(block["tokens"].min() / 1.15, block["tokens"].max() * 1.15)
    bottom = np.nanmin(block[["low", "overlap"]].to_numpy(float))
    first.set_ylim(max(0.0, min(bottom, 0.8) - 0.02), 1.01)
    _tokens_axis(first, *first.get_xlim())
    first.yaxis.get_major_locator().set_params(nbins=4)
    first.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    for number, axis in enumerate(axes):
        axis.tick_params(labelbottom=number + across >= len(languages))
        if number >= len(languages):
            axis.remove()


def _crossing(measured: pd.DataFrame) -> str:
    """The tokens at which a curve reaches 95%, for a title; empty where the curve cannot tell."""
    needed, extrapolated = tokens_needed(measured["tokens"], measured["overlap"])
    if math.isnan(needed):
        return ""
    sign = (
        "\N{ALMOST EQUAL TO}"
        if extrapolated
        else "\N{LESS-THAN OR EQUAL TO}"
        if needed == measured["tokens"].min()
        else ""
    )
    return f": {STABLE:.0%} at {sign}{_short(float(f'{needed:.2g}'))}"


def _tokens_axis(axis: Axes, low: float, high: float) -> None:
    """Set ticks at 1, 2 and 5 times powers of ten, or at the powers of ten alone where there would be many."""
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 30 else (1,), numticks=20))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: _short(tokens)))


def _short(tokens: float) -> str:
    """3000 as 3k, 2000000 as 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:g}{letter}"
    return f"{tokens:g}"
