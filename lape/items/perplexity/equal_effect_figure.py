"""The others' rise against the deactivated language's own: LAPE's curve over ratios, and other methods as points."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.lines import COLOURS
from lape.items.drawing.style import BLUE, GREY, in_column, legend_columns, method_name, panels, panels_across
from lape.neurons.controls import PREFIXES

COLUMNS = ("model", "deactivated", "method", "ratio", "own", "others")
_MARKERS = "sD^vPX*<>"
_SIDE, _LEGEND = 3.3, 2.4  # inches: the side of a panel, and the legend beside a single one


def equal_effect(frame: pd.DataFrame) -> Figure:
    """One panel per model and deactivated language.

    Below the curve a method is more specific than LAPE at the same effect, above it less. Controls are grey and hollow.

    Args:
        frame: the table of `lape.items.perplexity.equal_effect.equal_effect`.
    """
    blocks = [block for _, block in frame.groupby(["model", "deactivated"], sort=False)]
    across = panels_across(len(blocks), _SIDE)
    down = -(-len(blocks) // across)
    beside = across == 1 and not in_column()
    size = (_SIDE + _LEGEND, 2.8 * down) if beside else (_SIDE * across, 2.8 * down + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    for axis, block in zip(panels(figure, down, across, len(blocks)), blocks, strict=True):
        _panel(axis, block)
    handles = {}
    for axis in figure.axes:
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    place = ("outside right center", 1) if beside else ("outside lower center", legend_columns([*handles]))
    figure.legend(handles.values(), handles, loc=place[0], ncols=place[1], frameon=False)
    return figure


def _panel(axis: Axes, block: pd.DataFrame) -> None:
    curve = block[block["method"] == "lape"].sort_values("ratio")
    # Straight lines between the ratios, which the axes bend.
    across, up, steps = [0, *curve["own"]], [0, *curve["others"]], np.linspace(0, len(curve), 50 * len(curve) + 1)
    drawn = [np.interp(steps, range(len(across)), values) for values in (across, up)]
    axis.plot(*drawn, "-o", color=BLUE, markersize=3, markevery=50, label="LAPE at several ratios")
    sides = cycle(((5, "left"), (-5, "right")))  # neighbours on the curve are often close
    for own, others, ratio in curve[["own", "others", "ratio"]].itertuples(index=False):
        across, align = next(sides)
        place = {"xytext": (across, 0), "textcoords": "offset points", "ha": align, "va": "center"}
        axis.annotate(f"{100 * ratio:g}%", (own, others), **place, fontsize=6.5)
    points = block[block["method"] != "lape"].drop_duplicates("method")
    colours = cycle(COLOURS[1:])
    for place, (method, own, others) in enumerate(points[["method", "own", "others"]].itertuples(index=False)):
        control = method.startswith((*PREFIXES, "random"))
        colour = GREY if control else next(colours)
        face = "white" if control else colour
        marker = _MARKERS[place % len(_MARKERS)]
        axis.plot(own, others, marker, color=colour, markerfacecolor=face, markersize=5, label=method_name(method))
    language = block["deactivated"].iat[0]
    for scale in (axis.set_xscale, axis.set_yscale):
        scale("symlog", linthresh=0.1)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter("{x:g}")
    axis.set_xlabel(f"NLL rise of {language}, nats per token")
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("mean NLL rise of the others")
    axis.set_title(f"{block['model'].iat[0]}, {language} deactivated")
    axis.spines[["top", "right"]].set_visible(False)
