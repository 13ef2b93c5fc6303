"""How far the methods agree on the neurons."""

import math

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lape.items.drawing.heatmap import PAGE, cell_side, colour_bar, heatmap
from lape.items.drawing.style import method_name, panels
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
    across = min(len(matrices), max(int(PAGE / (side + 0.3)), math.ceil(math.sqrt(len(matrices)))))
    down = math.ceil(len(matrices) / across)

    width, height = across * (side + 0.3) + 0.7, down * (side + 0.3)
    figure = Figure(figsize=(width, height), layout="compressed")
    axes = panels(figure, down, across, len(matrices))
    scale = Normalize(0, 1)
    for axis, (model, cells) in zip(axes, matrices.items(), strict=True):
        heatmap(axis, cells.rename(index=method_name, columns=method_name), scale)
        axis.set_title(model)
    colour_bar(figure, axes, scale, "Jaccard index", aspect=8 * height, pad=0.15 / width)
    return figure
