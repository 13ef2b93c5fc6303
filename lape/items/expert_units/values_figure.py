"""Which units, or which values: the share of texts in the target language under either, against the number of units."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lape.items.drawing.lines import COLOURS
from lape.items.drawing.style import grid, grid_size, in_column
from lape.items.expert_units.sections import VALUES
from lape.items.expert_units.texts import ALL, NONE, OTHER, SHARES

COLUMNS = ("model", "kind", "units", "language", "metric", "ours", "low", "high")
_LOOKS = dict(zip(VALUES, zip(COLOURS, "osD^", ("-", "--", "-", "--"), strict=False), strict=True))
_PANELS = {SHARES[0]: "share in the target language", OTHER: "share in the other language"}


def expert_values(frame: pd.DataFrame) -> Figure:
    """Mean share over the languages, one row per model: texts in the target language, and in the other language.

    At the left end nothing is overwritten. Bands are 95% intervals.

    Args:
        frame: the table of `lape.items.expert_units.texts.values`.
    """
    models = dict(list(frame[frame["language"] == ALL].groupby("model", sort=False)))
    figure = Figure(figsize=grid_size(len(models), 2, 2.4, more=0.5), layout="constrained")
    axes = grid(figure, len(models), 2)
    for row, (model, block) in zip(axes, models.items(), strict=True):
        for axis, (metric, label) in zip(row, _PANELS.items(), strict=True):
            _panel(axis, block[block["metric"] == metric])
            axis.set_title(model)
            axis.set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("units that are overwritten")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if in_column() else 2, frameon=False)
    return figure


def _panel(axis: Axes, block: pd.DataFrame) -> None:
    """Draw one measure of one model."""
    sizes = sorted(block.loc[block["kind"] != NONE, "units"].unique())
    # Numbers of units stand at equal distances, and no unit before them.
    places = {0.0: 0, **{size: place for place, size in enumerate(sizes, start=1)}}
    for kind, (colour, marker, dashes) in _LOOKS.items():
        own = block[block["kind"].isin([NONE, kind])].sort_values("units")
        if set(own["kind"]) != {NONE, kind}:
            continue
        if len(own) == 2:  # a single number of units is a point
            own = own[own["kind"] == kind]
        across = own["units"].map(places)
        axis.plot(across, own["ours"], dashes, marker=marker, color=colour, markersize=4, label=VALUES[kind])
        axis.fill_between(across, own["low"], own["high"], color=colour, alpha=0.12, linewidth=0)
    axis.set_xticks(range(len(places)), ["none", *(f"{size:,.0f}" for size in sizes)], rotation=45)
    axis.set_ylim(-0.03, 1.05)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.spines[["top", "right"]].set_visible(False)
