"""Figures with one panel per language, the panels of a model on one scale. They suit more languages than lines do."""

import math
from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.style import in_column, text_width


def language_panels_across(most: int) -> int:
    """How many panels stand side by side where a model has `most` languages at the most."""
    return min(most, 2 if in_column() else max(4, math.ceil(math.sqrt(most))))


def language_panels_width(across: int, least: float = 0.0) -> float:
    """The width of a figure of `across` panels side by side, in inches: at least `least` where there is room."""
    return max((1.5 if in_column() else 1.7) * across, min(least, text_width() - 0.3)) + 0.3


def language_panels(
    frame: pd.DataFrame,
    draw: Callable[[Sequence[Axes], pd.DataFrame], None],
    xlabel: Callable[[pd.DataFrame], str],
    ylabel: str,
    *,
    width: float = 0.0,
    legend: float = 0.0,
) -> Figure:
    """Lay out the panels of every model, row by row, one model below the other.

    Args:
        frame: has the columns model and language.
        draw: fills a model's panels from the model's rows. There may be more panels than languages.
        xlabel: from a model's rows to the label that its panels share.
        ylabel: the label that all panels share.
        width: least width in inches of a row of panels.
        legend: height in inches that is left for a legend.
    """
    models = dict(list(frame.groupby("model", sort=False)))
    most = max(block["language"].nunique() for block in models.values())
    across = language_panels_across(most)
    down = [math.ceil(block["language"].nunique() / across) for block in models.values()]
    heights = [1.2 * rows + 0.45 for rows in down]
    figure = Figure(figsize=(language_panels_width(across, width), sum(heights) + legend), layout="constrained")
    parts = figure.subfigures(len(models), 1, height_ratios=heights, squeeze=False)
    for part, rows, (model, block) in zip(parts[:, 0], down, models.items(), strict=True):
        axes = part.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel()
        draw(axes, block)
        languages = block["language"].nunique()
        for number, axis in enumerate(axes):
            # The lowest panel of each column carries the numbers, even where it is not in the last row; and the first
            # one of each row. A tick without a number would mean nothing.
            lowest, first = number + across >= languages, number % across == 0
            axis.tick_params(bottom=lowest, labelbottom=lowest, left=first, labelleft=first)
            if number >= languages:
                axis.remove()
        part.suptitle(model, fontsize=9)
        part.supxlabel(xlabel(block), fontsize=8)
        part.supylabel(ylabel, fontsize=8)
    return figure
