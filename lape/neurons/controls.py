"""Random controls: as many random neurons as were selected (the paper's random selection, RS, Fig. 8)."""

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.neurons.table import Neurons, located


def random_control(neurons: Neurons, seed: int, layer_matched: bool = False) -> Neurons:
    """Draw per language a random set as large as the language's own set.

    The paper draws from all layers alike. Such a set also differs from the selected one in the layers where it lies,
    and some layers matter more than others. A layer-matched set has as many neurons in every layer as the language's
    own set. Which neurons they are is then the only difference.

    Args:
        neurons: selected neurons, whose shape, languages and numbers are taken.
        seed: seed of numpy's PCG64 generator.
        layer_matched: draw layer by layer, from the neurons that are not in the language's own set.

    Returns:
        neurons with the same sets, each drawn without replacement.

    Raises:
        LapeError: a language owns more than half of a layer, so that a matched set does not fit beside it.
    """
    generator = np.random.default_rng(seed)
    width = neurons.neurons_per_layer
    owners: dict[int, list[str]] = {}
    for name in neurons.sets:
        own = neurons.indices(name)
        if layer_matched:
            drawn = [layer * width + _others(generator, width, index, name, layer) for layer, index in own.items()]
        else:
            size = sum(len(index) for index in own.values())
            drawn = [generator.choice(neurons.layers * width, size, replace=False)]
        for neuron in np.concatenate([np.empty(0, np.int64), *drawn]).tolist():
            owners.setdefault(neuron, []).append(name)
    places = located(np.array(sorted(owners), np.int64), width, neurons.experts)
    table = pd.DataFrame({**places, "languages": [tuple(owners[neuron]) for neuron in sorted(owners)]})
    return Neurons(table, neurons.sets, neurons.layers, width, {"selected": len(table)}, experts=neurons.experts)


def _others(generator: np.random.Generator, width: int, own: np.ndarray, name: str, layer: int) -> np.ndarray:
    """Draw as many neurons of a layer as `own` has, from the neurons that are not in `own`."""
    others = np.setdiff1d(np.arange(width), own)
    if len(others) < len(own):
        raise LapeError(
            f"neurons: {name} owns {len(own)} of the {width} neurons of layer {layer}, more than half, so that no "
            "control fits beside them; lower neurons.ratio"
        )
    return generator.choice(others, len(own), replace=False)
