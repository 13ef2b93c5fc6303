"""Neurons that several languages share: a heatmap of pairs of languages, and bars by the number of languages."""

import math

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lape.items.drawing.heatmap import cell_side, heatmap, panel_size, shared_bar
from lape.items.drawing.style import BLUE, LABELLED, panels, panels_across, text_width
from lape.items.neurons.counts import blocks
from lape.items.neurons.sharing import share_matrix

COLUMNS = ("model", "method", "language", "other", "neurons", "share")
HISTOGRAM_COLUMNS = ("model", "method", "languages", "neurons", "share")


def sharing(frame: pd.DataFrame) -> Figure:
    """|A and B| / |A|, one panel per model. Rows are languages A with their numbers of neurons, columns languages B.

    The diagonal is left blank, as a language shares all neurons with itself.

    Args:
        frame: the table of `lape.items.neurons.sharing.sharing`.
    """
    matrices = {}
    for title, block in blocks(frame):
        own = block.drop_duplicates("language").set_index("language")["neurons"]
        cells = share_matrix(block).where(~np.eye(len(own), dtype=bool))
        matrices[title] = cells.rename(index=lambda name, own=own: f"{name} ({own[name]:,})")
    # The scale reaches at least one half, so that a few shared neurons do not look like many.
    scale = Normalize(0, max(0.5, *(cells.max(axis=None) for cells in matrices.values())))
    side = max(cell_side(cells) * len(cells) for cells in matrices.values())
    across = panels_across(len(matrices), side + 0.8)
    down = math.ceil(len(matrices) / across)

    figure = Figure(figsize=panel_size(across * (side + 0.8), down * (side + 0.6)), layout="compressed")
    axes = panels(figure, down, across, len(matrices))
    for number, (axis, (title, cells)) in enumerate(zip(axes, matrices.items(), strict=True)):
        heatmap(axis, cells, scale)
        axis.set_title(title)
        if number % across == 0:
            axis.set_ylabel("language A (its neurons)")
        if number + across >= len(matrices):
            axis.set_xlabel("language B")
    shared_bar(figure, axes, scale, "share of A's neurons that are B's too")
    return figure


def sharing_histogram(frame: pd.DataFrame) -> Figure:
    """Neurons by the number of languages that they belong to, one panel per model, with the share above each bar.

    Args:
        frame: the table of `lape.items.neurons.sharing.sharing_histogram`.
    """
    models = dict(blocks(frame))
    width = min(max(2.3, 0.32 * frame["languages"].max() + 0.5), text_width())
    across = min(len(models), int(text_width() / width))
    down = math.ceil(len(models) / across)

    figure = Figure(figsize=(width * across, 1.7 * down + 0.2), layout="constrained")
    for axis, (title, block) in zip(panels(figure, down, across, len(models)), models.items(), strict=True):
        bars = axis.bar(block["languages"], block["neurons"], width=0.8, color=BLUE)
        if len(block) <= LABELLED:
            shares = [_percent(row.share) if row.neurons else "" for row in block.itertuples()]
            axis.bar_label(bars, shares, fontsize=6.5, padding=1.5)
        axis.set_title(f"{title}: {block['neurons'].sum():,} neurons")
        axis.set_xlim(0.4, block["languages"].max() + 0.6)
        axis.xaxis.get_major_locator().set_params(integer=True, nbins=10, min_n_ticks=1)
        axis.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        axis.margins(y=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("languages that a neuron belongs to", fontsize=8)
    figure.supylabel("neurons", fontsize=8)
    return figure


def _percent(share: float) -> str:
    """A share in whole percent. A share that would round to 0% is written as below 1%."""
    return f"{share:.0%}" if share >= 0.005 else "<1%"
