"""How many tokens a selection of neurons needs, and how sure the number of its neurons is, from repeated selections."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lape.neurons.agreement import ALL, overlap

# A selection is stable where another one finds at least this share of its neurons again.
STABLE = 0.95

_LEVEL = (0.025, 0.975)
# An extrapolation beyond this multiple of the largest group's tokens says nothing.
_REACH = 1000


def band(values: ArrayLike) -> tuple[float, float, float]:
    """Mean, 2.5% and 97.5% quantile of repeated measurements without those that are NaN; NaN where none is left."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    return float(values.mean()), *map(float, np.quantile(values, _LEVEL))


def count_interval(counts: ArrayLike) -> tuple[int, int]:
    """95% interval of a language's number of neurons: percentiles of its number in the resamples, rounded outwards.

    The interval was chosen by simulation: 100 to 400 samples from the probabilities of Gemma 3 270M, 7 languages, 1% of
    12,288 or 36,864 neurons. The truth is the number that these probabilities select. The interval covers the truth in

    - 95 to 99% of the cases with 8 shards and independent tokens;
    - 96 to 98% with 8 shards and tokens as clustered as those of the median real neuron (a design effect of 15);
    - 99% with 16 shards, 94% with 4, and 88% with 2.

    Intervals that correct for bias (basic, BC, normal, or Student's around the corrected number) cover 75 to 92%. A
    resample is on average no further from the truth than the sample is, so that these intervals correct noise. The
    chosen interval can miss a language whose number noise moves to one side. The worst case was covered in 68%: 19
    neurons in truth, and 20 to 21 on average.

    Args:
        counts: int [B], numbers of neurons in B resamples of `lape.neurons.stability.bootstrap`.
    """
    low = np.quantile(counts, _LEVEL[0], method="lower")
    return int(low), int(np.quantile(counts, _LEVEL[1], method="higher"))


def tokens_needed(tokens: ArrayLike, shares: ArrayLike) -> tuple[float, bool]:
    """At how many tokens two independent selections share `STABLE` of their neurons.

    Where the measured shares reach `STABLE`, the answer is the first crossing, interpolated over ln(tokens). Where the
    smallest group reaches it already, the answer is the size of that group, which is an upper bound. Where no group
    reaches it, the answer is extrapolated by 1 - share = a tokens^-b, fitted by least squares between logarithms. The
    error of a probability falls with the square root of the tokens. So does the number of neurons that are close enough
    to a cut to cross it. Hence b should be near one half, and less where documents are long.

    Args:
        tokens: tokens of the groups, rising [M].
        shares: mean share of the neurons that the other group of the same size finds again [M].

    Returns:
        The tokens, and whether they are extrapolated. The tokens are NaN where a fit has no meaning: with fewer than
        two sizes, without a rise with the tokens, or for a result beyond 1,000 times the largest group.
    """
    tokens, shares = np.asarray(tokens, float), np.asarray(shares, float)
    reached = np.flatnonzero(shares >= STABLE)
    if len(reached):
        place = reached[0]
        if place == 0:
            return float(tokens[0]), False
        ends = slice(place - 1, place + 1)
        return float(np.exp(np.interp(STABLE, shares[ends], np.log(tokens[ends])))), False
    intercept, exponent = _power_law(tokens, shares)
    if not exponent > 0:
        return np.nan, True
    needed = (intercept - math.log(1 - STABLE)) / exponent
    if needed > math.log(_REACH * tokens[-1]):
        return np.nan, True
    # The fit may cross at fewer tokens than the largest group has, whose measured mean does not reach STABLE.
    return max(math.exp(needed), float(tokens[-1])), True


def curve(splits: pd.DataFrame, shard_tokens: Mapping[str, float]) -> pd.DataFrame:
    """How much of a selection another one from as many other tokens finds again, as a curve over the tokens.

    Args:
        splits: the frame of `lape.neurons.stability.splits`.
        shard_tokens: language -> mean tokens of its shards.

    Returns:
        Columns language (`ALL` first), shards, tokens (per language), overlap (mean over resamples), low, high (2.5%
        and 97.5% quantile of the resamples) and extrapolated. A curve that does not reach `STABLE` is continued by the
        fit of `tokens_needed`: at twice the tokens again and again, up to the tokens needed. The continued rows have no
        shards and no band.
    """
    shard_tokens = {ALL: float(np.mean(list(shard_tokens.values()))), **shard_tokens}
    rows = []
    for language, block in splits.groupby("language", sort=False):
        sizes, means = [], []
        for size, draws in block.groupby("shards"):
            mean, low, high = band(overlap(draws["first"], draws["second"], draws["shared"]))
            sizes.append(size * shard_tokens[language])
            means.append(mean)
            rows.append((language, size, round(sizes[-1]), mean, low, high, False))
        needed, extrapolated = tokens_needed(sizes, means)
        if extrapolated and not math.isnan(needed):
            intercept, exponent = _power_law(sizes, means)
            doublings = sizes[-1] * 2.0 ** np.arange(1, math.ceil(math.log2(needed / sizes[-1])))
            predicted = 1 - np.exp(intercept - exponent * np.log(doublings))
            for size, share in [*zip(doublings, predicted, strict=True), (needed, STABLE)]:
                rows.append((language, pd.NA, round(size), float(share), np.nan, np.nan, True))
    frame = pd.DataFrame(rows, columns=["language", "shards", "tokens", "overlap", "low", "high", "extrapolated"])
    return frame.astype({"shards": "Int64"})


def _power_law(tokens: ArrayLike, shares: ArrayLike) -> tuple[float, float]:
    """ln a and b of 1 - share = a tokens^-b; NaN with fewer than two sizes that have a share."""
    from scipy.stats import linregress

    tokens, shares = np.asarray(tokens, float), np.asarray(shares, float)
    known = shares < 1  # false for NaN too
    if known.sum() < 2:
        return np.nan, np.nan
    fit = linregress(np.log(tokens[known]), np.log(1 - shares[known]))
    return float(fit.intercept), -float(fit.slope)
