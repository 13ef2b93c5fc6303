"""Fig. 5: in which layers each language's neurons lie."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lape.items.drawing.language_panels import language_panels
from lape.items.drawing.style import BLUE, method_name
from lape.items.layers import heading

COLUMNS = ("model", "method", "language", "layer", "ours")


def neurons_per_layer(frame: pd.DataFrame) -> Figure:
    """Neurons per layer and language (Fig. 5): one panel per language, the panels of a set on one scale.

    A set is a model's, or where the table has several methods a model's and a method's.

    Lines in one panel would hide one another in the many layers that hold next to no neurons, and would look alike in
    a grey print. Panels also hold any number of languages.

    Args:
        frame: the table of `lape.items.neurons.counts.layer_counts`.
    """
    titles = frame["model"]
    if frame["method"].nunique() > 1:
        titles = titles + ", " + frame["method"].map(method_name)
    return language_panels(frame.assign(model=titles), _panels, lambda block: heading(block["layer"]), "neurons")


def _panels(axes: Sequence[Axes], block: pd.DataFrame) -> None:
    """Draw the panels of one model's languages."""
    languages = block["language"].unique()
    depth = block["layer"].max()
    for axis, language in zip(axes, languages, strict=False):
        rows = block[block["language"] == language]
        edges = np.append(rows["layer"] - 0.5, depth + 0.5)
        axis.stairs(rows["ours"].astype(float), edges, fill=True, color=BLUE)
        axis.set_title(f"{language}: {int(rows['ours'].sum()):,} neurons", fontsize=8, pad=2)
        axis.spines[["top", "right"]].set_visible(False)
    first = axes[0]
    first.set_xlim(0.5, depth + 0.5)
    first.set_ylim(bottom=0)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if depth / step <= 5)
    inner = [layer for layer in range(max(step, 2), depth, step) if depth - layer > step / 2]
    first.set_xticks(sorted({1, *inner, depth}))
    first.yaxis.get_major_locator().set_params(integer=True, nbins=4)
