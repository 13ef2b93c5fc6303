"""Controls: sets of neurons that no method chose, as many as each language has.

A random set answers the question whether any neurons would do. The paper draws it from all layers alike (random
selection, RS, Fig. 8). A layer-matched set has as many neurons in every layer as the language's own set. Most neurons
hardly fire, and to switch off a silent neuron changes nothing. An activity-matched set is therefore drawn from the
neurons of the same layers that fire as often and as strongly in the language as the language's own.

No control holds a neuron that the method chose for any language. Every draw is made for one language and one site of
the model alone: where one chosen neuron is another, the draws of all other languages and layers stay as they were.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

logger = logging.getLogger(__name__)

# The prefix before a method's name that names the control of the method.
PREFIXES = ACTIVITY_MATCHED, LAYER_MATCHED = "active_", "matched_"
# An activity-matched neuron is one of so many nearest ones, by chance, so that draws differ and stay matched.
NEAREST = 3


# From a language, the neurons of a region of the model, the places in it of the language's own and of the neurons that
# are in no set, and a random number per neuron of the region, to the places that are drawn.
_Draw = Callable[[str, slice, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def random_control(neurons: Neurons, seed: int, layer_matched: bool = False) -> Neurons:
    """Draw per language a random set as large as the language's own set.

    Args:
        neurons: selected neurons, whose shape, languages and numbers are taken.
        seed: seed of numpy's PCG64 generator; another seed is another draw.
        layer_matched: draw layer by layer, in each as many as the language's own set has there; otherwise from all
            neurons of the model alike. Where a layer has experts and a shared expert, draw from each as many as the
            language's own set has there.

    Returns:
        neurons with the same sets, each drawn without replacement. `summary["missing"]` is the number of neurons per
        language that the control lacks. It lacks some where a layer has fewer neurons outside all sets than the
        language's own set has in it.
    """

    def smallest(name: str, region: slice, own: np.ndarray, others: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return others[np.argsort(keys[others], kind="stable")[: len(own)]]

    bounds = neurons.sites.site_starts if layer_matched else np.array([0, neurons.sites.neurons])
    return _control(neurons, seed, bounds, smallest, neurons.sets)


def activity_matched_control(
    neurons: Neurons,
    statistics: Mapping[str, ActivationStatistics],
    seed: int,
    nearest: int = NEAREST,
    languages: Sequence[str] | None = None,
) -> Neurons:
    """Draw per language, for each neuron of its set, a neuron of the same layer that is about as active.

    The distance of two neurons is that of their activation probabilities and mean activations on text of the language,
    both divided by their standard deviations over the layer. Neurons that are hard to match come first. Each is matched
    with a random one of the `nearest` neurons that are still free, so that no neuron is drawn twice for a language.

    Args:
        neurons: selected neurons.
        statistics: language -> statistics on the same model, for every language that is drawn.
        seed: see `random_control`.
        nearest: number of neurons among which a match is drawn, from 1.
        languages: those whose sets are drawn, the same as if all were; None: all. The other sets stay empty.

    Returns:
        neurons with the same sets; see `random_control`.

    Raises:
        LapeError: a language has no statistics, or they are of a model of another shape; or `nearest` is below 1.
    """
    check_nearest(nearest)
    wanted = neurons.sets if languages is None else known_sets(languages, neurons.sets, neurons.origin)
    known = {name: activity(neurons, statistics, name) for name in wanted}

    def alike(name: str, region: slice, own: np.ndarray, others: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return nearest_matches(known[name][region], own, others, keys, nearest)[1]

    return _control(neurons, seed, neurons.sites.site_starts, alike, wanted)


def check_nearest(nearest: int) -> None:
    """Fail unless a match is drawn from one neuron or more."""
    if nearest < 1:
        raise LapeError(f"nearest {nearest}: a match is drawn from one neuron or more; raise --nearest")


def nearest_matches(
    values: np.ndarray, own: np.ndarray, others: np.ndarray, keys: np.ndarray, nearest: int = NEAREST
) -> tuple[np.ndarray, np.ndarray]:
    """Match places of a region one to one with other places of similar values; those that are hard to match come first.

    Args:
        values: [R, D], D measures of each of the region's places. Each is divided by its standard deviation over the
            region.
        own: the places to match.
        others: the places among which matches are drawn.
        keys: [R], a random number from 0 to 1 per place.
        nearest: see `activity_matched_control`.

    Returns:
        the places that are matched, and the match of each. Where there are fewer others, as many places as that.
    """
    spread = values.std(axis=0)
    values = values / np.where(spread > 0, spread, 1)
    distance = np.linalg.norm(values[own, None] - values[None, others], axis=-1)
    matched = np.argsort(-distance.min(axis=1, initial=np.inf), kind="stable")[: len(others)]
    drawn = []
    for row in matched:
        near = np.argsort(distance[row], kind="stable")[: min(nearest, len(others) - len(drawn))]
        match = near[int(keys[own[row]] * len(near))]
        distance[:, match] = np.inf  # it is no longer free
        drawn.append(others[match])
    return own[matched], np.array(drawn, np.int64)


def activity(neurons: Neurons, statistics: Mapping[str, ActivationStatistics], language: str) -> np.ndarray:
    """Activation probability and mean activation of every neuron on text of a language, float64 [N, 2].

    Raises:
        LapeError: the language has no statistics, or they are of a model of another shape.
    """
    if language not in statistics:
        raise LapeError(f"{neurons.origin}: no statistics of {language}; pass those of each of its languages")
    found = statistics[language]
    if found.sites != neurons.sites:
        raise LapeError(
            f"{neurons.origin}: selected in a model of {neurons.sites}, the statistics of {language} are of another "
            f"({found.sites}); pass those of the same model"
        )
    return found.per_token


def _control(neurons: Neurons, seed: int, bounds: np.ndarray, draw: _Draw, languages: Sequence[str]) -> Neurons:
    """Draw the sets of some languages, each region by region; a region ends where the next begins."""
    numbers, membership = neurons.numbers(), neurons.membership()
    owners: dict[int, list[str]] = {}
    missing = dict.fromkeys(languages, 0)
    for name in languages:
        member = membership[:, neurons.sets.index(name)]
        for number, region in enumerate(map(slice, bounds[:-1], bounds[1:])):
            places = np.arange(region.start, region.stop)
            own = np.flatnonzero(np.isin(places, numbers[member]))
            if not len(own):
                continue
            others = np.flatnonzero(~np.isin(places, numbers))
            keys = np.random.default_rng([seed, number, *name.encode()]).random(len(places))
            drawn = places[draw(name, region, own, others, keys)]
            missing[name] += len(own) - len(drawn)
            for neuron in drawn.tolist():
                owners.setdefault(neuron, []).append(name)
    for name, lacking in missing.items():
        if lacking:
            logger.warning(
                "control of %s: lacks %d neurons, as layers have too few outside all sets; lower neurons.ratio",
                name,
                lacking,
            )
    chosen = sorted(owners)
    table = pd.DataFrame(
        {**neurons.sites.located(np.array(chosen, np.int64)), "languages": [tuple(owners[each]) for each in chosen]}
    )
    return Neurons(table, neurons.sets, neurons.sites, {"selected": len(table), "missing": missing})
