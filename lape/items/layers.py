"""Layers in tables and figures: `layer` counts from 1, as in the papers, and `layer_index` from 0, as in files."""

from collections.abc import Iterable

import pandas as pd


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the column `layer_index` (from 0) behind its column `layer` (from 1)."""
    found = frame.copy()
    found.insert(frame.columns.get_loc("layer") + 1, "layer_index", frame["layer"] - 1)
    return found


def heading(layers: Iterable[int]) -> str:
    """What a column or an axis of layers is called, such as "layer, 1 to 18".

    Args:
        layers: numbers of layers, from 1.
    """
    return f"layer, 1 to {max(layers)}"
