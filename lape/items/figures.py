"""Figures, drawn from tidy tables and from nothing else."""

import pandas as pd
from matplotlib.figure import Figure

from lape.items.drawing.style import styled
from lape.items.registry import FIGURES


def draw(item: str, frame: pd.DataFrame) -> Figure:
    """Draw a figure of the registry.

    Args:
        item: its name.
        frame: its tidy table, from `lape.items.tables.read` or made in memory.
    """
    with styled():
        return FIGURES[item].draw(frame)
