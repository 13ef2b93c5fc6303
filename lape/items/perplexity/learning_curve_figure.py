"""The effect of PV's parameters against the number of training steps."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.lines import COLOURS, name_ends
from lape.items.drawing.style import BLUE, GREY, LABELLED, in_column, panels, panels_across
from lape.items.perplexity.learning_curve import ALL

COLUMNS = (
    "model",
    "method",
    "steps",
    "deactivated",
    "own",
    "own_low",
    "own_high",
    "others",
    "others_low",
    "others_high",
)
_SIDE = 3.3  # of a panel, in inches
_LOOKS = {"own": (BLUE, "o", "own language"), "others": (COLOURS[1], "s", "other languages")}


def pv_learning_curve(frame: pd.DataFrame) -> Figure:
    """One panel per model: mean rises of the own language and of the others against steps, from 0 at no step.

    Thin lines are the own rises of single languages. Bands are 95% intervals over languages. The control of the whole
    training is grey and hollow.

    Args:
        frame: the table of `lape.items.perplexity.learning_curve.learning_curve`.
    """
    blocks = [block for _, block in frame.groupby("model", sort=False)]
    across = panels_across(len(blocks), _SIDE)
    down = -(-len(blocks) // across)
    figure = Figure(figsize=(_SIDE * across, 2.5 * down + 0.6), layout="constrained")
    axes = panels(figure, down, across, len(blocks))
    for axis, block in zip(axes, blocks, strict=True):
        _panel(axis, block)
    for axis, block in zip(axes, blocks, strict=True):
        _names(axis, block)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if in_column() else 2, frameon=False)
    return figure


def _panel(axis: Axes, block: pd.DataFrame) -> None:
    curve, controls = block[block["method"] == "pv"], block[block["method"] != "pv"]
    for _, rows in curve[curve["deactivated"] != ALL].groupby("deactivated", sort=False):
        axis.plot([0, *rows["steps"]], [0, *rows["own"]], color=GREY, linewidth=0.6, zorder=1)
    means = curve[curve["deactivated"] == ALL].sort_values("steps")
    for column, (colour, marker, name) in _LOOKS.items():
        steps = [0, *means["steps"]]
        axis.plot(steps, [0, *means[column]], marker=marker, color=colour, markersize=4, label=f"PV, {name}")
        low, high = [0, *means[f"{column}_low"]], [0, *means[f"{column}_high"]]
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    for _, rows in controls[controls["deactivated"] == ALL].groupby("method", sort=False):
        for column, (_, marker, name) in _LOOKS.items():
            label = f"control, {name}"
            axis.plot(
                rows["steps"], rows[column], marker, color=GREY, markerfacecolor="white", markersize=5, label=label
            )
    if axis.dataLim.y1 > 1:
        axis.set_yscale("symlog", linthresh=0.1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.axhline(0, color="black", linewidth=0.4)
    axis.set_xlim(0, curve["steps"].max() * 1.02)
    axis.set_xlabel("training steps")
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("NLL rise, nats per token")
    axis.set_title(block["model"].iat[0])
    axis.spines[["top", "right"]].set_visible(False)


def _names(axis: Axes, block: pd.DataFrame) -> None:
    """Write each language at the end of its line."""
    own = block[(block["method"] == "pv") & (block["deactivated"] != ALL)]
    ends = own.sort_values("steps").groupby("deactivated")["own"].last().to_dict()
    if len(ends) <= LABELLED:
        name_ends(axis, ends, dict.fromkeys(ends, GREY))
