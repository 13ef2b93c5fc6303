"""Which neurons belong to a language: LAPE, language activation probability entropy (Tang et al. 2024, section 2.2).

The default is what the authors' released code does; the paper's text leaves the threshold's scope open (one
percentile over all layers, neurons and languages) and whether membership is strict (it is).
"""

import logging
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.neurons import Neurons, located
from lape.statistics import ActivationStatistics

logger = logging.getLogger(__name__)


def activation_probabilities(statistics: Mapping[str, ActivationStatistics]) -> np.ndarray:
    """Share of tokens at which each neuron fires (Eq. 4); 0 where no token reached its expert.

    Args:
        statistics: language -> statistics of one model.

    Returns:
        float32 [L, I, K], languages in the mapping's order.

    Raises:
        LapeError: a language without tokens, or statistics of different shapes.
    """
    shapes = {language: value.count.shape for language, value in statistics.items()}
    if len({(value.count.shape, value.rows.shape) for value in statistics.values()}) != 1:
        raise LapeError(f"statistics: languages differ in shape ({shapes}); count them all on one model")
    for language, value in statistics.items():
        if value.tokens == 0:
            raise LapeError(f"statistics: {language} has no tokens; raise tokens.train")
    (shape,) = set(shapes.values())
    probabilities = np.empty((*shape, len(statistics)), np.float32)
    for k, value in enumerate(statistics.values()):
        probabilities[..., k] = value.count / np.maximum(value.denominator, 1)  # divided in float64, then rounded
    return probabilities


def entropies(probabilities: np.ndarray) -> np.ndarray:
    """Entropy over languages of each neuron's L1-normalised activation probabilities (Eq. 5), natural log.

    Args:
        probabilities: float32 [..., K].

    Returns:
        float32 [...], between 0 and ln K; 0 for a neuron that never fires.
    """
    sums = probabilities.sum(axis=-1, keepdims=True)
    shares = np.divide(probabilities, sums, out=np.zeros_like(probabilities), where=sums > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.abs(-(shares * logs).sum(axis=-1))  # abs: no -0.0


def select_lape(statistics: Mapping[str, ActivationStatistics], ratio: float = 0.01, quantile: float = 0.95) -> Neurons:
    """The `ratio` of neurons with the lowest entropy, each assigned to every language above the threshold.

    1. P = count / tokens (in a mixture of experts: tokens routed to the expert) in float32, and its entropy H over
       languages.
    2. T = the round(L I K quantile)-th smallest of all P. A neuron with no language strictly above T is out.
    3. The round(L I ratio) neurons with the smallest H, over all layers; ties go to the lower layer, then index.
    4. A neuron belongs to every language with P > T.

    Where fewer neurons pass step 2 than step 3 wants, all that pass are taken and a warning says so; the
    released code fills up with neurons of no language and drops them later.

    Args:
        statistics: language -> statistics of one model, K of them; the order is kept.
        ratio: share of all neurons, in (0, 1].
        quantile: of all activation probabilities, in (0, 1].

    Returns:
        the neurons, with their entropy and probabilities; `summary` holds threshold, entropy_at_cut,
        entropy_maximum (ln K), wanted and selected.

    Raises:
        LapeError: a parameter out of range, fewer than two languages, or statistics that do not fit together.
    """
    if len(statistics) < 2:
        raise LapeError("languages: LAPE compares languages; name at least two")
    for name, value in (("ratio", ratio), ("quantile", quantile)):
        if not 0 < value <= 1:
            raise LapeError(f"neurons.{name}: {value} is outside (0, 1]; set it to a share")
    languages = list(statistics)
    probabilities = activation_probabilities(statistics)
    layers, neurons, _ = probabilities.shape

    rank = max(round(probabilities.size * quantile), 1) - 1
    threshold = np.partition(probabilities, rank, axis=None)[rank]
    above = probabilities > threshold
    candidates = np.flatnonzero(above.any(axis=-1))  # in order of layer, then index

    wanted = round(layers * neurons * ratio)
    if not wanted:
        raise LapeError(f"neurons.ratio: {ratio} of {layers * neurons} neurons is not one neuron; raise it")
    if len(candidates) < wanted:
        logger.warning(
            "neurons: %d are wanted and only %d exceed the threshold %.6g", wanted, len(candidates), threshold
        )
    entropy = entropies(probabilities.reshape(-1, len(languages))[candidates])
    order = np.argsort(entropy, kind="stable")[:wanted]  # stable: ties stay in order of layer and index
    entropy_at_cut = float(entropy[order[-1]]) if len(order) else None

    chosen = np.sort(order)
    (experts,) = {value.rows.shape[1] for value in statistics.values()}
    flat = candidates[chosen]
    table = pd.DataFrame({**located(flat, neurons, experts), "entropy": entropy[chosen].astype(np.float64)})
    for k, language in enumerate(languages):
        table[f"probability_{language}"] = probabilities.reshape(-1, len(languages))[flat, k].astype(np.float64)
    table["languages"] = [
        tuple(language for language, member in zip(languages, row, strict=True) if member)
        for row in above.reshape(-1, len(languages))[flat].tolist()
    ]
    summary = {
        "threshold": float(threshold),
        "entropy_at_cut": entropy_at_cut,
        "entropy_maximum": math.log(len(languages)),
        "wanted": wanted,
        "selected": len(chosen),
    }
    return Neurons(table, tuple(languages), layers, neurons, summary, experts=experts)


def random_control(neurons: Neurons, seed: int) -> Neurons:
    """A uniform random set as large as the largest set of `neurons`, the paper's random selection (RS).

    Args:
        neurons: selected neurons, whose shape and largest set are taken.
        seed: of numpy's PCG64 generator.

    Returns:
        neurons with the one set "random", drawn without replacement from all layers.
    """
    size = max(neurons.counts().values(), default=0)
    drawn = np.random.default_rng(seed).choice(neurons.layers * neurons.neurons_per_layer, size, replace=False)
    places = located(np.sort(drawn), neurons.neurons_per_layer, neurons.experts)
    table = pd.DataFrame({**places, "languages": [("random",)] * size})
    shape = neurons.layers, neurons.neurons_per_layer
    return Neurons(table, ("random",), *shape, {"selected": size}, experts=neurons.experts)
