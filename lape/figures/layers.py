"""Fig. 5: in which layers each language's neurons lie."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from lape.figures.style import BLUE

COLUMNS = ("model", "method", "language", "layer", "ours")


def figure5(frame: pd.DataFrame) -> Figure:
    """Neurons per layer and language (Fig. 5): a panel a language, the panels of a model on one scale.

    Lines over one another would be lost where most layers hold next to nothing, and in grey; panels also
    carry any number of languages.

    Args:
        frame: the table of `lape.tables.neurons.layer_counts`.
    """
    models = dict(list(frame.groupby("model", sort=False)))
    most = max(block["language"].nunique() for block in models.values())
    across = min(most, max(4, math.ceil(math.sqrt(most))))
    down = [math.ceil(block["language"].nunique() / across) for block in models.values()]

    figure = Figure(figsize=(1.7 * across + 0.3, sum(1.2 * rows + 0.45 for rows in down)), layout="constrained")
    parts = figure.subfigures(len(models), 1, height_ratios=[1.2 * rows + 0.45 for rows in down], squeeze=False)
    for part, rows, (model, block) in zip(parts[:, 0], down, models.items(), strict=True):
        _panels(part, block, rows, across)
        part.suptitle(model, fontsize=9)
        part.supxlabel("layer", fontsize=8)
        part.supylabel("neurons", fontsize=8)
    return figure


def _panels(part: SubFigure, block: pd.DataFrame, down: int, across: int) -> None:
    """One model's languages, row by row."""
    axes = part.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    languages = block["language"].unique()
    depth = block["layer"].max()
    for axis, language in zip(axes, languages, strict=False):
        rows = block[block["language"] == language]
        edges = np.append(rows["layer"] - 0.5, depth + 0.5)
        axis.stairs(rows["ours"], edges, fill=True, color=BLUE)
        axis.set_title(f"{language}: {rows['ours'].sum():,} neurons", fontsize=8, pad=2)
        axis.spines[["top", "right"]].set_visible(False)
    first = axes[0]
    first.set_xlim(0.5, depth + 0.5)
    first.set_ylim(bottom=0)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if depth / step <= 5)
    first.set_xticks([1, *range(max(step, 2), depth + 1, step)])
    first.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    for number, axis in enumerate(axes):
        # The lowest panel of a column carries the layers' numbers, also where the last row is not full.
        axis.tick_params(labelbottom=number + across >= len(languages))
        if number >= len(languages):
            axis.remove()
