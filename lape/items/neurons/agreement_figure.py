"""How far the methods agree on the neurons."""

import math

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lape.items.drawing.heatmap import cell_side, heatmap, panel_size, shared_bar
from lape.items.drawing.style import method_name, panels, panels_across
from lape.items.neurons.agreement import agreement_matrix

COLUMNS = ("model", "method", "other", "language", "jaccard")


def agreement(frame: pd.DataFrame) -> Figure:
    """The Jaccard index of every two methods' neurons of all languages, one panel per model, on a scale from 0 to 1.

    Args:
        frame: the table of `lape.items.neurons.agreement.agreement`.
    """
    matrices = {model: agreement_matrix(block, "jaccard") for model, block in frame.groupby("model", sort=False)}
    labels = 0.07 * max(frame["method"].map(method_name).str.len())
    side = max(cell_side(cells) * len(cells) for cells in matrices.values()) + labels
    across = panels_across(len(matrices), side + 0.3)
    down = math.ceil(len(matrices) / across)

    figure = Figure(figsize=panel_size(across * (side + 0.3), down * (side + 0.3)), layout="compressed")
    axes = panels(figure, down, across, len(matrices))
    scale = Normalize(0, 1)
    for axis, (model, cells) in zip(axes, matrices.items(), strict=True):
        heatmap(axis, cells.rename(index=method_name, columns=method_name), scale)
        axis.set_title(model)
    shared_bar(figure, axes, scale, "Jaccard index")
    return figure
