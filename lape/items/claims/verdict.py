"""A claim of a paper, put to the test, and what an interval says of it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lape.evaluation.uncertainty import student_reach

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be said"
# The papers, and their sections.
TANG, KOJIMA = "Tang et al.", "Kojima et al."


@dataclass(frozen=True)
class Claim:
    """A claim and what is found of it.

    Attributes:
        claim: the paper's sentence, shortened.
        section: paper and section.
        statistic: what is measured, and what must be the case for the claim to hold.
        value, low, high: the statistic and its 95% interval; NaN where there is none.
        verdict: `HOLDS`, `FAILS` or `OPEN`.
    """

    claim: str
    section: str
    statistic: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = OPEN


def above(bound: float, low: float, high: float) -> str:
    """The verdict on "the statistic is above the bound": by which side of the bound the whole interval lies on."""
    if low > bound:
        return HOLDS
    return FAILS if high < bound else OPEN


def below(bound: float, low: float, high: float) -> str:
    """The verdict on "the statistic is below the bound"."""
    return above(-bound, -high, -low)


def mean_interval(values: NDArray) -> tuple[float, float, float]:
    """A mean and its 95% interval by Student's t; without bounds below four values."""
    mean, number = float(np.mean(values)), len(values)
    if number < 4:
        return mean, math.nan, math.nan
    low, high = mean + student_reach(number) * np.std(values, ddof=1) / math.sqrt(number)
    return mean, float(low), float(high)


def outer_thirds(per_layer: NDArray, seed: int = 0) -> tuple[float, float, float]:
    """How much of what lies in the layers is in the lowest and the highest third of them.

    Args:
        per_layer: a number per layer, none negative, in their order [L].
        seed: seed of the permutations.

    Returns:
        the share in the outer thirds; the share if all layers had as much; and the p-value that the first is above the
        second, from 9,999 permutations of the layers. A permutation keeps together what lies in one layer.
    """
    third = len(per_layer) // 3
    outer = np.r_[np.arange(third), np.arange(len(per_layer) - third, len(per_layer))]
    generator = np.random.default_rng(seed)
    observed = per_layer[outer].sum()
    shuffled = generator.permuted(np.tile(per_layer, (9999, 1)), axis=1)[:, outer].sum(axis=1)
    p_value = (1 + int((shuffled >= observed - 1e-12 * per_layer.sum()).sum())) / 10_000
    total = per_layer.sum()
    return float(observed / total) if total else math.nan, len(outer) / len(per_layer), p_value
