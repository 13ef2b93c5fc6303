"""Shards of statistics with known activation probabilities, shared by the tests of stability."""

import numpy as np

from lape.model.sites import Sites
from lape.statistics.sums import ActivationStatistics

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ("no", "nan", "fr")
LAYERS, WIDTH = 2, 60


def made(rng, tokens: int, probabilities: np.ndarray) -> ActivationStatistics:
    """Binomial counts, and sums of activations with fractions."""
    count = rng.binomial(tokens, probabilities)
    zeros = np.zeros((2, *count.shape), np.int64)
    totals = np.stack([count - 3, rng.integers(0, 2**40, count.shape)])
    rows = np.full((len(count), 1), tokens)
    above = np.zeros((1, *count.shape), np.int64)
    return ActivationStatistics(
        sites=Sites.rectangle(*count.shape),
        count=count,
        tokens=tokens,
        rows=rows,
        totals=totals,
        squares=zeros,
        above=above,
        thresholds=(0.5,),
    )


def truth(rng, layers: int = LAYERS, width: int = WIDTH, languages: int = 3) -> np.ndarray:
    """Activation probabilities [K, L, I]: a common one a neuron, which some languages raise."""
    common = rng.beta(0.6, 2.5, (layers, width))
    raised = rng.random((languages, layers, width)) < 0.15
    return np.clip(common * np.where(raised, rng.uniform(2, 8, raised.shape), 1), 0, 0.98)


def shards_of(seed: int, tokens=(50, 80, 50, 80, 50), languages=LANGUAGES) -> dict[str, list[ActivationStatistics]]:
    rng = np.random.default_rng(seed)
    return {
        language: [made(rng, n, probabilities) for n in tokens]
        for language, probabilities in zip(languages, truth(rng, languages=len(languages)), strict=True)
    }
