"""Figures are drawn from tidy tables and from nothing else."""

import pandas as pd
from matplotlib.figure import Figure

from lape.items.drawing.style import PAGE, styled
from lape.items.registry import FIGURES


def draw(item: str, frame: pd.DataFrame, width: float = PAGE) -> Figure:
    """Draw a figure of the registry.

    Args:
        item: the name of the figure.
        frame: the tidy table of the figure, from `lape.items.tables.read` or made in memory.
        width: `PAGE` or `COLUMN`, the width in inches that the figure is drawn for.
    """
    with styled(width):
        return FIGURES[item].draw(frame)
