"""Whether the text that a switch makes harder to predict is also the text whose questions it spoils."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lape.items.answers.inputs import percentiles

# The cells that a correlation is over.
ALL_CELLS, OFF_DIAGONAL = "all cells", "off the diagonal"
OVER_CELLS = (ALL_CELLS, OFF_DIAGONAL)


def correlations(rows: Sequence[dict], resamples: int, seed: int) -> list[dict]:
    """Spearman's correlation, over the cells of one matrix, of the rise of the NLL with the loss of accuracy.

    Cells of one row or column are not independent. Languages are drawn with replacement, each with its row and its
    column, and the interval has their expanded percentiles (`lape.items.answers.inputs.percentiles`). The questions of
    a cell leave its accuracy some points unsure, which draws a correlation towards zero.

    Args:
        rows: one per cell, with switched, evaluated, change (of the accuracy) and nll_change.
        resamples: number of draws.
        seed: seed of the draws.

    Returns:
        a row for each of `OVER_CELLS`, with cells, switched and evaluated (both ""), spearman, spearman_low and
        spearman_high (NaN below four languages); none where a rise is not known, or the cells are fewer than three.
    """
    frame = pd.DataFrame(rows)
    rise, loss = (frame.pivot(index="switched", columns="evaluated", values=name) for name in ("nll_change", "change"))
    order = list(frame["switched"].unique())
    rise, loss = rise.loc[order, order].to_numpy(), -loss.loc[order, order].to_numpy()
    if np.isnan(rise).any() or len(order) < 3:
        return []
    drawn = np.random.default_rng(seed).integers(0, len(order), (resamples, len(order)))
    found = []
    for cells in OVER_CELLS:
        counted = np.ones(rise.shape, bool) if cells == ALL_CELLS else ~np.eye(len(order), dtype=bool)
        again = np.array([_spearman(rise, loss, counted, each) for each in drawn])
        low, high = (np.nan, np.nan) if np.isnan(again).all() else percentiles(again, len(order))
        bounds = {"spearman": _spearman(rise, loss, counted, np.arange(len(order)))}
        bounds |= {"spearman_low": max(low, -1.0), "spearman_high": min(high, 1.0)}
        found.append({"switched": "", "evaluated": "", "cells": cells} | bounds)
    return found


def _spearman(rise: np.ndarray, loss: np.ndarray, counted: np.ndarray, languages: np.ndarray) -> float:
    """The correlation over the counted cells of some languages' rows and columns; NaN where one side is constant."""
    from scipy.stats import rankdata

    block = np.ix_(languages, languages)
    ranks = [rankdata(values[block][counted[block]]) for values in (rise, loss)]
    if any(not len(each) or np.ptp(each) == 0 for each in ranks):
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
