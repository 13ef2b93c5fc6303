"""The shares of languages in pre-training corpora (printed in Table 7) beside the measured numbers of neurons."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape import paper
from lape.items.layout import Section, rounded
from lape.items.neurons.counts import blocks, counts


def pretraining_shares(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The paper's pre-training shares beside the neurons of every model, with their rank correlation.

    Args:
        paths: neurons headers, one for a model and method, each with its TSV beside it.

    Returns:
        one row per model, method, corpus and language. Languages that Table 7 lacks are left out. Columns:
        - model, method, language, neurons, corpus (LLaMA-2 or BLOOM), share_percent;
        - spearman, p_value, n: the results of `rank_correlation`, equal in all rows of a model, method and corpus.

    Raises:
        LapeError: a set comes twice, or a TSV disagrees with its header.
    """
    measured = counts(paths)[["model", "method", "language", "ours"]].rename(columns={"ours": "neurons"})
    shares = paper.pretraining_shares().melt(var_name="corpus", value_name="share_percent", ignore_index=False)
    frame = measured.merge(shares.reset_index(), on="language")
    correlations = [
        {**dict(zip(_GROUP, key, strict=True)), **rank_correlation(block["share_percent"], block["neurons"])}
        for key, block in frame.groupby(_GROUP, sort=False)
    ]
    return frame.merge(pd.DataFrame(correlations, columns=[*_GROUP, "spearman", "p_value", "n"]), on=_GROUP)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """Spearman's rank correlation of two short lists.

    Args:
        a, b: lists of one length, up to about 9.

    Returns:
        - spearman, the correlation; NaN where a list is constant;
        - p_value, two-sided, from all pairings of the two lists. It is exact, whereas the usual approximation needs
          hundreds of values. NaN where a list is constant;
        - n, the length.
    """
    if len(set(a)) < 2 or len(set(b)) < 2:
        return {"spearman": np.nan, "p_value": np.nan, "n": len(a)}
    from scipy import stats

    ranks = stats.rankdata(a), stats.rankdata(b)
    # Over all pairings of the ranks, the sum of products grows with the correlation: both give the same p-value.
    test = stats.permutation_test(
        ranks[:1], lambda order: order @ ranks[1], permutation_type="pairings", n_resamples=math.inf
    )
    return {"spearman": float(stats.spearmanr(a, b).statistic), "p_value": float(test.pvalue), "n": len(a)}


def pretraining_shares_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: languages down, shares and neurons across, and the correlation in the last row."""
    sections = []
    for title, block in blocks(frame):
        shares = block.pivot(index="language", columns="corpus", values="share_percent")
        shares = shares.loc[block["language"].unique(), block["corpus"].unique()]
        neurons = block.drop_duplicates("language").set_index("language")["neurons"]
        cells = shares.map("{:.2f}".format).assign(neurons=neurons.map("{:,}".format))
        found = block.drop_duplicates("corpus").set_index("corpus")
        cells.loc["Spearman's correlation"] = [*map(_say, *(found[name] for name in ("spearman", "p_value"))), ""]
        cells = cells.rename(columns=lambda name: name if name == "neurons" else f"{name} (%)")
        what = f"shares of the pre-training corpora (Table 7) and measured neurons, n = {len(shares)} languages"
        sections.append(Section(f"{title}: {what}", "language", cells))
    return sections


_GROUP = ["model", "method", "corpus"]


def _say(spearman: float, p_value: float) -> str:
    return "undefined" if pd.isna(spearman) else f"{rounded(spearman)} (p {rounded(p_value)})"
