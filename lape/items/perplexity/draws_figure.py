"""The band of a control's draws, and the rise under the selected set above it or in it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.style import BLUE, GREY, in_column, legend_columns, method_name, panels, panels_across

COLUMNS = ("model", "method", "language", "draws", "rise", "control_rise", "control_low", "control_high")


def control_draws(frame: pd.DataFrame) -> Figure:
    """One panel per model and method: per language the rise under the set, over the band of the control's draws.

    The axis is linear up to 0.1 nats and logarithmic above. The set is a filled circle, the mean of the draws a line
    across their band, so that both can be told apart without colour.

    Args:
        frame: the table of `lape.items.perplexity.draws.control_draws`.
    """
    blocks = [block for _, block in frame.groupby(["model", "method"], sort=False)]
    across = panels_across(len(blocks), 3.3)
    down = -(-len(blocks) // across)
    most = max(block["language"].nunique() for block in blocks)
    side = max(min(3.3, 1.0 + 0.34 * most), 2.6 if across > 1 else 3.2)
    figure = Figure(figsize=(side * across, 2.3 * down + 0.3), layout="constrained")
    axes = panels(figure, down, across, len(blocks), sharey=not in_column())
    values = frame[["rise", "control_low", "control_high"]]
    for axis, block in zip(axes, blocks, strict=True):
        _panel(axis, block)
        axis.set_ylim(min(values.min().min(), 0) - 0.02, 1.3 * max(values.max().max(), 0.1))  # room for whole circles
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels), frameon=False)
    return figure


def _panel(axis: Axes, block: pd.DataFrame) -> None:
    places, draws = np.arange(len(block)), block["draws"].iat[0]
    low, height = block["control_low"], block["control_high"] - block["control_low"]
    axis.bar(places, height, 0.5, low, color=GREY, alpha=0.6, label=f"{draws} draws of the control, mean")
    axis.hlines(block["control_rise"], places - 0.25, places + 0.25, color="black", linewidth=0.8)
    axis.plot(places, block["rise"], "o", color=BLUE, markersize=4, label="the set")
    axis.axhline(0, color="black", linewidth=0.4)
    axis.set_yscale("symlog", linthresh=0.1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xticks(places, block["language"])
    axis.set_xlim(-0.6, len(block) - 0.4)
    axis.set_title(f"{block['model'].iat[0]}, {method_name(block['method'].iat[0])}")
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("NLL rise, nats per token")
    axis.spines[["top", "right"]].set_visible(False)
