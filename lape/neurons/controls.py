"""Random controls: as many random neurons as were selected (the paper's random selection, RS, Fig. 8)."""

from itertools import pairwise

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.model.sites import Sites, layer_label
from lape.neurons.table import Neurons


def random_control(neurons: Neurons, seed: int, layer_matched: bool = False) -> Neurons:
    """Draw per language a random set as large as the language's own set.

    The paper draws from all layers alike. Such a set also differs from the selected one in the layers where it lies,
    and some layers matter more than others. A layer-matched set has as many neurons in every layer as the language's
    own set. Which neurons they are is then the only difference.

    Args:
        neurons: selected neurons, whose shape, languages and numbers are taken.
        seed: seed of numpy's PCG64 generator.
        layer_matched: draw layer by layer, from the neurons that are not in the language's own set. Where a layer has
            experts and a shared expert, draw from each as many as the language's own set has there.

    Returns:
        neurons with the same sets, each drawn without replacement.

    Raises:
        LapeError: a language owns more than half of a layer, so that a matched set does not fit beside it.
    """
    generator = np.random.default_rng(seed)
    sites = neurons.sites
    owners: dict[int, list[str]] = {}
    for name in neurons.sets:
        own = np.sort(neurons.numbers()[neurons.membership()[:, neurons.sets.index(name)]])
        if layer_matched:
            bounds = np.searchsorted(own, sites.site_starts)
            drawn = [
                _others(generator, sites, number, own[first:end], name)
                for number, (first, end) in enumerate(pairwise(bounds))
                if first < end
            ]
        else:
            drawn = [generator.choice(sites.neurons, len(own), replace=False)]
        for neuron in np.concatenate([np.empty(0, np.int64), *drawn]).tolist():
            owners.setdefault(neuron, []).append(name)
    places = sites.located(np.array(sorted(owners), np.int64))
    table = pd.DataFrame({**places, "languages": [tuple(owners[neuron]) for neuron in sorted(owners)]})
    return Neurons(table, neurons.sets, sites, {"selected": len(table)})


def _others(generator: np.random.Generator, sites: Sites, number: int, own: np.ndarray, name: str) -> np.ndarray:
    """Draw as many neurons of one site as `own` has, from the site's neurons that are not in `own`."""
    first, end = sites.site_starts[number : number + 2]
    others = np.setdiff1d(np.arange(first, end), own)
    if len(others) < len(own):
        raise LapeError(
            f"neurons: {name} owns {len(own)} of the {end - first} neurons of "
            f"{layer_label(sites.sites[number].layer)}, more than half, so that no control fits "
            "beside them; lower neurons.ratio"
        )
    return generator.choice(others, len(own), replace=False)
