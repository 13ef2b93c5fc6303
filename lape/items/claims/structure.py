"""What the papers say of the layers where languages meet."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lape.items.claims.verdict import TANG, Claim, above, below, mean_interval


def of_similarity(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `similarity_by_layer` of one model: the rows of all pairs of languages."""
    from scipy.stats import spearmanr

    layers = frame[frame["language"] == ""].sort_values("layer")
    for column, what in (("ses", "as it is"), ("corrected", "corrected for anisotropy")):
        known = layers.dropna(subset=[column, "neurons"])
        low = high = value = np.nan
        if len(known) > 4 and known["neurons"].nunique() > 1:
            value = float(spearmanr(known[column], known["neurons"]).statistic)
            centre, reach = np.arctanh(np.clip(value, -0.9999, 0.9999)), 1.96 * 1.03 / np.sqrt(len(known) - 3)
            low, high = np.tanh([centre - reach, centre + reach])
        yield Claim(
            "similarity over layers goes the opposite way of the number of neurons",
            f"{TANG} 3.3.2",
            f"Spearman's correlation over {len(known)} layers of SES, {what}, and neurons, below 0; interval as if "
            "layers were independent",
            value,
            low,
            high,
            below(0, low, high),
        )


def of_dominance(frame: pd.DataFrame) -> Iterator[Claim]:
    """From the table `dominance_by_layer` of one model: the rows of the mean over languages."""
    means = frame[frame["language"] == ""].groupby("target", sort=False)["corrected"].mean()
    if "en" not in means.index:
        return
    value, low, high = mean_interval((means["en"] - means.drop("en")).to_numpy())
    yield Claim(
        "other languages are centred on a high-resource one (English)",
        f"{TANG} 3.3.3",
        "dominance of en less that of another target, corrected, mean over layers, above 0; mean and interval over "
        "targets",
        value,
        low,
        high,
        above(0, low, high),
    )
