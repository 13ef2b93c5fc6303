"""The paper's figures, drawn from the tidy tables and from nothing else.

An item is an entry of `FIGURES`: the columns it needs and the function that draws them. A new item is a
function from a frame to a matplotlib figure and an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Drawing

from lape.items.answers import figures as generation
from lape.items.drawing.style import save, styled
from lape.items.expert_units import figures as expert_units
from lape.items.neurons import agreement_figure as agreement
from lape.items.neurons import layers_figure as layers
from lape.items.neurons import sharing_figures as sharing
from lape.items.neurons import stability_figures as stability
from lape.items.perplexity import heatmaps as deactivation
from lape.items.perplexity import ratio
from lape.items.structure import figures as structure

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
    "cross_lingual": Figure(generation.CROSS_COLUMNS, generation.cross_lingual),
    "deactivation": Figure(deactivation.COLUMNS, deactivation.deactivation),
    "deactivation_log_ratio": Figure(deactivation.COLUMNS, deactivation.deactivation_log_ratio),
    "dose_response": Figure(generation.DOSE_COLUMNS, generation.dose_response),
    "figure2": Figure(deactivation.COLUMNS, deactivation.figure2),
    "figure3": Figure(deactivation.FIGURE3_COLUMNS, deactivation.figure3),
    "figure4": Figure(ratio.COLUMNS, ratio.figure4),
    "figure5": Figure(layers.COLUMNS, layers.figure5),
    "figure6": Figure(structure.COLUMNS, structure.figure6),
    "figure7": Figure(structure.FIGURE7_COLUMNS, structure.figure7),
    "figure8": Figure(deactivation.COLUMNS, deactivation.figure8),
    "sharing": Figure(sharing.COLUMNS, sharing.sharing),
    "sharing_histogram": Figure(sharing.HISTOGRAM_COLUMNS, sharing.sharing_histogram),
    "agreement": Figure(agreement.COLUMNS, agreement.agreement),
    "stability": Figure(stability.COLUMNS, stability.stability),
    "stability_curve": Figure(stability.CURVE_COLUMNS, stability.stability_curve),
    "expert_deactivation": Figure(deactivation.COLUMNS, deactivation.figure2),
    "expert_layers": Figure(expert_units.LAYER_COLUMNS, expert_units.expert_layers),
    "expert_histogram": Figure(expert_units.HISTOGRAM_COLUMNS, expert_units.expert_histogram),
    "expert_sizes": Figure(expert_units.SIZE_COLUMNS, expert_units.expert_sizes),
    "expert_share": Figure(expert_units.SHARE_COLUMNS, expert_units.expert_share),
    "expert_steering": Figure(expert_units.SHARE_COLUMNS, expert_units.expert_share),
}


def draw(item: str, frame: pd.DataFrame) -> Drawing:
    """Draw one item of `FIGURES`.

    Args:
        item: a key of `FIGURES`.
        frame: its tidy table, from `lape.items.tables.read` or made in memory.
    """
    with styled():
        return FIGURES[item].draw(frame)
