"""How far two selections of neurons agree, and how far two random ones of their sizes would."""

import numpy as np
from numpy.typing import ArrayLike

from lape.neurons.table import Neurons

# The neurons of any language, where a language's code stands otherwise; no code holds a space.
ALL = "all languages"


def members(neurons: Neurons) -> np.ndarray:
    """Which neurons were selected: bool [1 + K, L * I], first for any set, then for each of the K sets in order."""
    member = np.zeros((1 + len(neurons.sets), neurons.layers * neurons.neurons_per_layer), bool)
    flat = neurons.table["layer"].to_numpy(np.int64) * neurons.neurons_per_layer + neurons.places()
    member[1:, flat] = neurons.membership().T
    member[0] = member[1:].any(axis=0)
    return member


def jaccard(first: ArrayLike, second: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """|A and B| / |A or B| from the sizes of A, B and what they share; NaN for two empty sets."""
    return _ratio(shared, np.add(first, second) - shared)


def overlap(first: ArrayLike, second: ArrayLike, shared: ArrayLike) -> np.ndarray:
    """The share of two sets' neurons that is found again in the other one; NaN for two empty sets.

    2 |A and B| / (|A| + |B|), which is |A and B| / |A| for sets of one size.
    """
    return _ratio(2 * np.asarray(shared), np.add(first, second))


def jaccard_by_chance(population: int, first: int, second: int) -> float:
    """Expected Jaccard index of two sets of these sizes drawn at random, each without replacement.

    What they share is hypergeometric. NaN for two empty sets.

    Args:
        population: neurons that are drawn from.
        first, second: sizes of the sets.
    """
    from scipy.stats import hypergeom

    shared = np.arange(max(0, first + second - population), min(first, second) + 1)
    return float(hypergeom.pmf(shared, population, first, second) @ jaccard(first, second, shared))


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)
