"""How far two selections of neurons agree, and how far two random selections of the same sizes would agree."""

import numpy as np
from numpy.typing import ArrayLike

from lape.neurons.table import Neurons

# Stands in a column of language codes for the neurons of any language. No code holds a space.
ALL = "all languages"


def members(neurons: Neurons) -> np.ndarray:
    """Which neurons are selected: bool [1 + K, N]. Row 0 is for any set, the next K rows are for the K sets."""
    member = np.zeros((1 + len(neurons.sets), neurons.sites.neurons), bool)
    member[1:, neurons.numbers()] = neurons.membership().T
    member[0] = member[1:].any(axis=0)
    return member


def jaccard(first: ArrayLike, second: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """Jaccard index |A and B| / |A or B|, from |A|, |B| and |A and B|; NaN for two empty sets."""
    return _ratio(shared, np.add(first, second) - shared)


def overlap(first: ArrayLike, second: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """The share of the neurons of two sets that are in the other set too; NaN for two empty sets.

    It is 2 |A and B| / (|A| + |B|), which is |A and B| / |A| for sets of one size.
    """
    return _ratio(2 * np.asarray(shared), np.add(first, second))


def jaccard_by_chance(population: int, first: int, second: int) -> float:
    """Expected Jaccard index of two random sets, each drawn without replacement; NaN for two empty sets.

    The number of shared neurons has a hypergeometric distribution.

    Args:
        population: number of neurons to draw from.
        first, second: sizes of the sets.
    """
    from scipy.stats import hypergeom

    shared = np.arange(max(0, first + second - population), min(first, second) + 1)
    return float(hypergeom.pmf(shared, population, first, second) @ jaccard(first, second, shared))


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)
