"""Ways to make a model answer in another language, drawn: language success against relevance."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lape.items.answers.methods import METHODS
from lape.items.answers.rows import ALL
from lape.items.drawing.labels import Label, place_labels
from lape.items.drawing.lines import COLOURS
from lape.items.drawing.style import GREY, grid, grid_size, legend_columns

COLUMNS = (
    "model",
    "prompt",
    "method",
    "dose",
    "target",
    "success",
    "low",
    "high",
    "relevance",
    "relevance_by",
    "score",
)
_MARKERS = dict(zip(METHODS.values(), "soD^", strict=True))
_LEVELS = (0.1, 0.2, 0.3, 0.5, 0.7)  # of the score


def steering_methods(frame: pd.DataFrame) -> Figure:
    """Language success against relevance, the mean over the target languages: one panel per model and prompt.

    A point is a method at one dose. The best dose of each is filled and carries its score. A grey curve has one score.

    Args:
        frame: the table of `lape.items.answers.methods.steering_methods`.
    """
    frame = frame[frame["target"] == ALL]
    blocks = [block for _, block in frame.groupby(["model", "prompt"], sort=False)]
    width, height = grid_size(1, len(blocks), 3.3, more=0.5)
    figure = Figure(figsize=(min(width, 4.2) if len(blocks) == 1 else width, height), layout="constrained")
    (axes,) = grid(figure, 1, len(blocks))
    colours, words = dict(zip(METHODS.values(), COLOURS, strict=False)), {axis: [] for axis in axes}
    for axis, block in zip(axes, blocks, strict=True):
        limit = float(max(block["relevance"].max() * 1.25, 0.05))
        _curves(axis, limit)
        for method, rows in block.groupby("method", sort=False):
            best = rows["score"].idxmax()
            for one in rows.itertuples():
                face = colours[method] if one.Index == best else "white"
                axis.vlines(one.relevance, one.low, one.high, color=colours[method], linewidth=0.6, alpha=0.5)
                axis.plot(
                    one.relevance,
                    one.success,
                    _MARKERS[method],
                    color=colours[method],
                    markerfacecolor=face,
                    markersize=4.5,
                )
            top = rows.loc[best]
            words[axis].append(Label(top["relevance"], top["success"], f"{top['score']:.2f}", colours[method]))
        axis.set_xlim(0, limit)
        axis.set_ylim(-0.02, 1.05)
        axis.set_title(f"{block['model'].iat[0]}, {block['prompt'].iat[0]}")
        axis.set_xlabel(f"relevance ({block['relevance_by'].iat[0]})")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of answers in the target language")
    methods = [method for method in METHODS.values() if method in set(frame["method"])]
    handles = [
        Line2D([], [], color=colours[each], marker=_MARKERS[each], markersize=4.5, linestyle="", label=each)
        for each in methods
    ]
    handles.append(Line2D([], [], color=GREY, linewidth=0.6, label="equal score"))
    ncols = legend_columns([handle.get_label() for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
    for axis, labels in words.items():
        place_labels(axis, labels)
    return figure


def _curves(axis, limit: float) -> None:
    """Points of one score: the harmonic mean of relevance (across) and success (up)."""
    for level in _LEVELS:
        relevance = np.linspace(level / 2 + 1e-3, limit, 200)
        success = level * relevance / np.maximum(2 * relevance - level, 1e-9)
        there = (success > 0) & (success <= 1.05)
        if there.any():
            axis.plot(relevance[there], success[there], color=GREY, linewidth=0.4, alpha=0.6, zorder=0)
