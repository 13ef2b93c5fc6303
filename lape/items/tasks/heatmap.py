"""Accuracy on tasks: what switching one language off or on does to the answers in every language."""

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lape.interventions.dose import STEERED
from lape.items.drawing.heatmap import cell_side, heatmap, panel_size, shared_bar
from lape.items.drawing.style import grid, in_column, method_name
from lape.items.tasks.rows import ONE, SIGNIFICANT

COLUMNS = ("model", "task", "method", "switched", "evaluated", "cells", "change", "control_p_holm")


def downstream(frame: pd.DataFrame) -> Figure:
    """Change of accuracy in points, one row of panels per model and task: each method, its control, and steering.

    In a panel a row is the deactivated or steered language and a column the evaluated one. The scale reaches at least
    10 points. A number is bold where the accuracy differs from the control's.

    Args:
        frame: the table of `lape.items.tasks.rows.downstream`.
    """
    frame = frame[(frame["cells"] == ONE) & (frame["method"] != "none")]
    groups = [block for _, block in frame.groupby(["model", "task"], sort=False)]
    methods = list(frame["method"].unique())
    side = max(_side(own) for block in groups for _, own in block.groupby("method"))
    across, down = (1, len(groups) * len(methods)) if in_column() else (len(methods), len(groups))
    figure = Figure(figsize=panel_size(across * side, down * (side + 0.4) + 0.1), layout="compressed")
    axes = grid(figure, len(groups), len(methods))
    most = max(frame["change"].abs().max(), 10)
    scale = Normalize(-most, most)
    for line, block in zip(axes, groups, strict=True):
        for axis, method in zip(line, methods, strict=True):
            own = block[block["method"] == method]
            if own.empty:  # this model has no such method
                axis.remove()
                continue
            differs = own.assign(bold=own["control_p_holm"] < SIGNIFICANT)
            axis.set_ylabel("steered language" if method.startswith(STEERED) else "deactivated language")
            heatmap(axis, _matrix(own, "change"), scale, bold=_matrix(differs, "bold"))
            axis.set_title(f"{own['model'].iat[0]}, {own['task'].iat[0]}\n{method_name(method)}")
    for axis in axes[-1]:
        axis.set_xlabel("evaluated language")
    drawn = [axis for axis in axes.ravel() if axis.figure is not None]
    shared_bar(figure, drawn, scale, "change of accuracy, points", frame["change"].min())
    return figure


def _matrix(block: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of a frame of one model, task and method, switched x evaluated, in the frame's order."""
    order = block["switched"].unique()
    return block.pivot(index="switched", columns="evaluated", values=column).loc[order, order]


def _side(block: pd.DataFrame) -> float:
    """The side of one matrix with its labels, in inches."""
    cells = _matrix(block, "change")
    return len(cells.columns) * cell_side(cells) + 0.6
