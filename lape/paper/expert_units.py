"""What Kojima et al. 2024 found with expert units, as data; README.md says how it was measured."""

import pandas as pd

from lape.paper import key, read

NUMBER = 1000  # units of the top, and of the bottom, of a language
LANGUAGES = ("en", "de", "fr", "es", "zh", "ja")
OVERLAP = 0.05  # two languages share less of their units


def expert_precision(model: str) -> pd.Series:
    """By language the mean average precision of the top `NUMBER` units; empty for a model that is not known.

    Args:
        model: catalogue name or repository of the hub; case and punctuation do not matter, as for `paper_model`.
    """
    rows = _of(model, read("expert_precision")).set_index("model")
    return rows.rename_axis(columns="language").stack().droplevel("model")


def expert_shares(model: str) -> pd.Series:
    """By (setting, language) the share of unconditional texts in the language; empty for a model that is not known.

    Args:
        model: as for `expert_precision`.
    """
    return _of(model, read("expert_share")).set_index(["setting", "language"])["share"]


def _of(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["model"].map(key) == key(model)]
