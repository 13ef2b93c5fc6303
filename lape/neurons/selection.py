"""Which neurons belong to a language, by three methods from one counting pass (Tang et al. 2024, sections 2.2 and 3.1).

- LAPE, language activation probability entropy: neurons whose probability of firing is spread most unevenly.
- LAVE, language activation value entropy: LAPE with the mean activation in place of the probability.
- LAP, language activation probability: neurons that fire at more than 95% of a language's tokens.

By default LAPE does what the authors' released code does. The paper's text leaves two questions open that the code
answers: the threshold is one percentile over all layers, neurons and languages, and a member must lie strictly above
it. Options beyond the released code are those of `choose`; they are off by default.
"""

import logging
import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

logger = logging.getLogger(__name__)

# Ways to count a negative mean activation; see `mean_activations`.
NEGATIVE = ("zero", "absolute", "shift")
# A share of the maximal entropy above which a neuron fires nearly alike in all languages.
_NEARLY_EVEN = 0.9
# Ways to assign languages to a neuron: all languages above the threshold, or the one where its value is highest.
ASSIGNMENTS = ("threshold", "maximum")


def activation_probabilities(statistics: Mapping[str, ActivationStatistics]) -> np.ndarray:
    """Share of tokens at which each neuron fires (Eq. 4); 0 where no token reached the neuron's expert.

    Args:
        statistics: language -> statistics of one model.

    Returns:
        float32 [N, K], languages in the mapping's order.

    Raises:
        LapeError: a language has no tokens, or the statistics differ in shape.
    """
    return _per_token(statistics, lambda value: value.count)


def mean_activations(statistics: Mapping[str, ActivationStatistics], negative: str = "zero") -> np.ndarray:
    """Mean activation of each neuron, as LAVE counts it (section 3.1 c); 0 where no token reached the neuron's expert.

    A mean can be negative, as GELU and SiLU go below zero, and values of both signs have no entropy. The paper does not
    say how it counts a negative mean; `negative` chooses:

    - "zero": it counts as 0. The neuron is off on average, which a probability of 0 says in LAPE.
    - "absolute": its absolute value counts. A neuron that is strongly negative in one language is specific to it.
    - "shift": where the lowest mean of a neuron is negative, it is subtracted from all means of that neuron.

    Args:
        statistics: language -> statistics of one model, with sums of the activation.
        negative: see above.

    Returns:
        float32 [N, K], none negative.

    Raises:
        LapeError: see `activation_probabilities`; or `negative` is unknown, or the statistics hold counts alone.
    """
    if negative not in NEGATIVE:
        raise LapeError(f"neurons.lave_negative: {negative!r} is unknown; use one of {', '.join(NEGATIVE)}")
    means = _per_token(statistics, lambda value: value.total)
    if not means.any():
        raise LapeError("statistics: hold no sums of activations, which LAVE needs; record them with `lape statistics`")
    if negative == "absolute":
        return np.abs(means)
    if negative == "shift":
        return means - np.minimum(means.min(axis=-1, keepdims=True), 0)
    return np.maximum(means, 0)


def entropies(values: np.ndarray) -> np.ndarray:
    """Entropy over languages of the L1-normalised values of each neuron (Eq. 5), with the natural logarithm.

    Args:
        values: float32 [..., K], activation probabilities or means, none of them negative.

    Returns:
        float32 [...], between 0 and ln K; 0 for a neuron that never fires.
    """
    sums = values.sum(axis=-1, keepdims=True)
    shares = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.abs(-(shares * logs).sum(axis=-1))  # abs turns -0.0 into 0.0


def select_lape(
    statistics: Mapping[str, ActivationStatistics], ratio: float = 0.01, quantile: float = 0.95, **options
) -> Neurons:
    """The `ratio` of neurons with the lowest entropy, each assigned to every language above the threshold.

    1. P is count / tokens in float32, and H is the entropy of P over languages. In a mixture of experts, tokens are
       those routed to the expert.
    2. T is the round(N K quantile)-th smallest of all P. A neuron is out where no language has P > T.
    3. The round(N ratio) neurons with the smallest H are taken, over all layers. Of equal neurons the one in the
       lower layer is taken first, then the one of lower index.
    4. A neuron belongs to every language with P > T.

    Where fewer neurons pass step 2 than step 3 wants, all that pass are taken, and a warning says so. The released code
    fills up with neurons of no language and drops them later.

    Args:
        statistics: language -> statistics of one model, for K languages, whose order is kept.
        ratio: share of all neurons to select, in (0, 1].
        quantile: quantile of all activation probabilities that is the threshold, in (0, 1].
        **options: see `choose`.

    Returns:
        the neurons, with their entropy and probabilities. `summary` holds threshold, entropy_at_cut (the highest
        entropy of a selected neuron), entropy_maximum (ln K), wanted and selected.

    Raises:
        LapeError: a parameter is out of range, there are fewer than two languages, or the statistics do not fit
            together.
    """
    return _lowest_entropy(statistics, activation_probabilities(statistics), "probability", ratio, quantile, options)


def select_lave(
    statistics: Mapping[str, ActivationStatistics],
    ratio: float = 0.01,
    quantile: float = 0.95,
    negative: str = "zero",
    **options,
) -> Neurons:
    """Do what `select_lape` does, with the mean activation in place of the probability (section 3.1 c).

    Args:
        statistics, ratio, quantile: see `select_lape`. The quantile is taken of all means.
        negative: how a negative mean counts; see `mean_activations`.
        **options: see `choose`.

    Returns:
        the neurons, with their entropy and with their means as `negative` counts them; for `summary` see `select_lape`.

    Raises:
        LapeError: see `select_lape` and `mean_activations`.
    """
    return _lowest_entropy(statistics, mean_activations(statistics, negative), "mean", ratio, quantile, options)


def select_lap(
    statistics: Mapping[str, ActivationStatistics], ratio: float = 0.01, probability: float = 0.95, **options
) -> Neurons:
    """The neurons that fire at more than `probability` of a language's tokens, for each language (section 3.1 b).

    The paper compares its methods at 1% of the neurons. Where more than `ratio` of all neurons fire so often, those
    with the highest probability in any language are taken. Of equal neurons the one in the lower layer is taken first,
    then the one of lower index.

    Args:
        statistics: see `select_lape`.
        ratio: largest share of all neurons that is taken, in (0, 1].
        probability: the activation probability that a neuron must exceed, in (0, 1].
        **options: see `choose`.

    Returns:
        the neurons, with their probabilities and with their entropy, which does not choose them. `summary` holds
        threshold (the given probability), entropy_at_cut (the highest entropy among the neurons), entropy_maximum,
        wanted and selected.

    Raises:
        LapeError: see `select_lape`.
    """
    _check_share("lap_probability", probability)
    values = activation_probabilities(statistics)
    return choose(statistics, values, "probability", probability, ratio, lambda value, _: -value, **options)


def choose(
    statistics: Mapping[str, ActivationStatistics],
    values: np.ndarray,
    name: str,
    threshold: float,
    ratio: float,
    order: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    minimum_tokens: int = 0,
    entropy_ceiling: float | None = None,
    assignment: str = "threshold",
    quota: int | None = None,
) -> Neurons:
    """The step that all methods share: take the first neurons above a threshold in some order, and assign languages.

    Args:
        statistics: language -> statistics, for K languages.
        values: float32 [N, K], the values that the method compares over languages.
        name: name of the values, which become columns name_<language>.
        threshold: a neuron with no value strictly above the threshold is out.
        ratio: share of all neurons to take.
        order: function from the values [N, K] and the entropies [N] of the neurons above the threshold to a key. The
            key is [N], or [N, K] where it differs between languages. The neurons with the smallest key come first. Of
            equal neurons the one in the lower layer comes first, then the one of lower index.
        minimum_tokens: a neuron that fewer tokens reached in any language is out. This matters in a mixture of experts
            alone: the neuron of a rare expert that fired at its single token has probability 1.
        entropy_ceiling: a neuron is out where its entropy, as a share of ln K, is higher.
        assignment: "threshold": a neuron belongs to every language above the threshold. "maximum": it belongs to the
            language where its value is highest, and to the first of equal languages.
        quota: number of neurons to take per language, the first ones of each, in place of the first `ratio` of all
            neurons. A neuron belongs to those of its languages in whose quota it is.

    Returns:
        the neurons, with columns entropy and name_<language>.

    Raises:
        LapeError: there are fewer than two languages, a parameter is out of range, or it leaves no neuron to take.
    """
    if len(statistics) < 2:
        raise LapeError("languages: neurons are found by comparing languages; name at least two")
    _warn_of_one_text(statistics)
    if assignment not in ASSIGNMENTS:
        raise LapeError(f"neurons.assignment: {assignment!r} is unknown; use one of {', '.join(ASSIGNMENTS)}")
    _check_share("ratio", ratio)
    languages = list(statistics)
    flat = values.reshape(-1, len(languages))
    wanted = quota if quota is not None else round(len(flat) * ratio)
    if wanted < 1:
        key, value = ("ratio", ratio) if quota is None else ("quota", quota)
        raise LapeError(f"neurons.{key}: {value} of {len(flat)} neurons is not one neuron; raise it")

    passed = (flat > np.float32(threshold)).any(axis=-1)
    for value in statistics.values():
        passed &= value.denominator.reshape(-1) >= minimum_tokens
    candidates = np.flatnonzero(passed)  # in order of layer, then index
    entropy = entropies(flat[candidates])
    if entropy_ceiling is not None:
        _check_share("entropy_ceiling", entropy_ceiling)
        kept = entropy <= entropy_ceiling * math.log(len(languages))
        candidates, entropy = candidates[kept], entropy[kept]
    members = flat[candidates] > np.float32(threshold)
    if assignment == "maximum":
        members = flat[candidates].argmax(axis=-1)[:, None] == np.arange(len(languages))
    keys = order(flat[candidates], entropy)
    keys = keys[:, None] if keys.ndim == 1 else keys
    if quota is None:
        taken = np.argsort(keys.min(axis=-1), kind="stable")[:wanted]  # equal keys stay in order of layer and index
    else:
        for own, key in zip(members.T, np.broadcast_to(keys, members.shape).T, strict=True):
            ranking = np.argsort(key, kind="stable")
            own[ranking[own[ranking]][quota:]] = False
        taken = np.flatnonzero(members.any(axis=-1))
    _warn_of_few(members[taken], languages, wanted, quota)

    chosen = np.sort(taken)
    sites = next(iter(statistics.values())).sites
    table = pd.DataFrame({**sites.located(candidates[chosen]), "entropy": entropy[chosen].astype(np.float64)})
    for k, language in enumerate(languages):
        table[f"{name}_{language}"] = flat[candidates[chosen], k].astype(np.float64)
    table["languages"] = [
        tuple(language for language, member in zip(languages, row, strict=True) if member)
        for row in members[chosen].tolist()
    ]
    summary = {
        "threshold": float(threshold),
        "entropy_at_cut": float(entropy[chosen].max()) if len(chosen) else None,
        "entropy_maximum": math.log(len(languages)),
        "wanted": wanted,
        "selected": len(chosen),
    }
    return Neurons(table, tuple(languages), sites, summary)


# Method -> its function of statistics and keyword parameters. The header of the method's artifact records these.
SELECTIONS = {"lape": select_lape, "lave": select_lave, "lap": select_lap}


def _lowest_entropy(statistics, values: np.ndarray, name: str, ratio: float, quantile: float, options: dict) -> Neurons:
    """The neurons of lowest entropy, among those whose value in some language exceeds a quantile of all values."""
    _check_share("quantile", quantile)
    rank = max(round(values.size * quantile), 1) - 1
    threshold = float(np.partition(values, rank, axis=None)[rank])
    neurons = choose(statistics, values, name, threshold, ratio, lambda _, entropy: entropy, **options)
    cut, maximum = neurons.summary["entropy_at_cut"], neurons.summary["entropy_maximum"]
    if cut is not None and cut > _NEARLY_EVEN * maximum:
        logger.warning(
            "neurons: the highest entropy of a selected neuron is %.2f, %.0f%% of the maximum: it is of no language; "
            "lower neurons.ratio, set neurons.entropy_ceiling, or look at the languages' texts",
            cut,
            100 * cut / maximum,
        )
    return neurons


def _per_token(
    statistics: Mapping[str, ActivationStatistics], sums: Callable[[ActivationStatistics], np.ndarray]
) -> np.ndarray:
    """Sums divided by the number of tokens that reached each neuron, float32 [N, K]."""
    if len({value.sites for value in statistics.values()}) > 1:
        shapes = "; ".join(f"{language}: {value.sites}" for language, value in statistics.items())
        raise LapeError(f"statistics: languages differ in shape ({shapes}); count them all on one model")
    for language, value in statistics.items():
        if value.tokens == 0:
            raise LapeError(f"statistics: {language} has no tokens; raise tokens.train")
    if not statistics:
        raise LapeError("languages: neurons are found by comparing languages; name at least two")
    values = np.empty((*next(iter(statistics.values())).count.shape, len(statistics)), np.float32)
    for k, value in enumerate(statistics.values()):
        values[..., k] = sums(value) / np.maximum(value.denominator, 1)  # divided in float64, then rounded
    return values


def _check_share(key: str, value: float) -> None:
    if not 0 < value <= 1:
        raise LapeError(f"neurons.{key}: {value} is outside (0, 1]; set it to a share")


def _warn_of_one_text(statistics: Mapping[str, ActivationStatistics]) -> None:
    """Warn where two languages have the same counts: they were counted on one text."""
    fired = {language: int(value.count.sum()) for language, value in statistics.items()}
    for one, other in combinations(statistics, 2):
        # Sums nearly always differ, so that the many selections of a bootstrap compare nothing else.
        if 0 < fired[one] == fired[other] and np.array_equal(statistics[one].count, statistics[other].count):
            logger.warning("neurons: %s and %s have the same counts: the same text stands for both", one, other)


def _warn_of_few(members: np.ndarray, languages: list[str], wanted: int, quota: int | None) -> None:
    """Warn where there are fewer neurons than wanted."""
    if quota is None and len(members) < wanted:
        logger.warning("neurons: %d are wanted and only %d pass the threshold", wanted, len(members))
    if quota is not None:
        for language, count in zip(languages, members.sum(axis=0).tolist(), strict=True):
            if count < quota:
                logger.warning("neurons: %d of %s are wanted and only %d pass the threshold", quota, language, count)
