"""LAPE with one thing changed, drawn: how specific each variant is, and how many neurons it shares with the run."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lape.items.drawing.style import BLUE, GREY, grid, grid_size
from lape.items.perplexity.robustness import RUN

_SCORES = ("share", "share_low", "share_high", "share_chunks_low", "share_chunks_high")
COLUMNS = ("model", "variant", "selected", "jaccard", "languages", *_SCORES)


def robustness(frame: pd.DataFrame) -> Figure:
    """Per model a row of two panels with one line per variant, the run on top.

    Left: the share of the total rise that is on the diagonal, with its intervals over chunks (thick) and over languages
    (thin), and a dashed line where all languages suffer alike. Right: the Jaccard index with the run's neurons, of the
    variants that select some.

    Args:
        frame: the table of `lape.items.perplexity.robustness.robustness`.
    """
    blocks = [block.reset_index(drop=True) for _, block in frame.groupby("model", sort=False)]
    width, height = grid_size(len(blocks), 2, 0.6 + 0.22 * max(map(len, blocks)))
    figure = Figure(figsize=(width, height), layout="constrained")
    for (left, right), block in zip(grid(figure, len(blocks), 2), blocks, strict=True):
        places = np.arange(len(block))
        for low, high, wide in (("share_low", "share_high", 0.8), ("share_chunks_low", "share_chunks_high", 2.4)):
            left.hlines(places, block[low], block[high], color=BLUE, linewidth=wide)
        left.plot(block["share"], places, "o", color=BLUE, markersize=4)
        left.axvline(1 / block["languages"].iat[0], color=GREY, linewidth=0.8, linestyle="--")
        left.set_xlim(0, 1.02)
        left.set_xlabel("share of the rise on the diagonal")
        left.set_title(block["model"].iat[0])
        own = (block["selected"] == "own") & (block["variant"] != RUN)
        right.barh(places[own], block.loc[own, "jaccard"], 0.5, color=GREY)
        right.set_xlim(0, 1)
        right.set_xlabel("Jaccard index with the run's")
        for axis in (left, right):
            axis.set_yticks(places, block["variant"])
            axis.set_ylim(len(block) - 0.5, -0.5)
            axis.spines[["top", "right"]].set_visible(False)
    return figure
