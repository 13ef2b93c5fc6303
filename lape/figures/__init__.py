"""The paper's figures, drawn from the tidy tables and from nothing else.

An item is an entry of `FIGURES`: the columns it needs and the function that draws them. A new item is a
function from a frame to a matplotlib figure and an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Drawing

from lape.figures import deactivation, layers
from lape.figures.style import save, styled

__all__ = ["FIGURES", "Figure", "draw", "save"]


@dataclass(frozen=True)
class Figure:
    """One item.

    Attributes:
        columns: columns of the table that the drawing needs.
        draw: from the tidy frame to the drawing.
    """

    columns: tuple[str, ...]
    draw: Callable[[pd.DataFrame], Drawing]


FIGURES = {
    "figure2": Figure(deactivation.COLUMNS, deactivation.figure2),
    "figure2_log_ratio": Figure(deactivation.COLUMNS, deactivation.figure2_log_ratio),
    "figure5": Figure(layers.COLUMNS, layers.figure5),
}


def draw(item: str, frame: pd.DataFrame) -> Drawing:
    """Draw one item of `FIGURES`.

    Args:
        item: a key of `FIGURES`.
        frame: its tidy table, from `lape.tables.read` or made in memory.
    """
    with styled():
        return FIGURES[item].draw(frame)
