"""Random controls: their sizes, where they lie, and that they are drawn evenly."""

import numpy as np
import pandas as pd
import pytest

from lape.errors import LapeError
from lape.model.sites import Sites
from lape.neurons.controls import random_control
from lape.neurons.table import Neurons


def selected(width: int = 200) -> Neurons:
    """Three layers; en has 30 neurons of layer 0 and 5 of layer 2, fr 8 of layer 2, ja none."""
    rows = [(0, index, ("en",)) for index in range(30)]
    rows += [(2, index, ("en", "fr")) for index in range(5)] + [(2, index, ("fr",)) for index in range(5, 8)]
    table = pd.DataFrame(rows, columns=["layer", "index", "languages"])
    return Neurons(table, ("en", "fr", "ja"), Sites.rectangle(3, width))


def by_layer(neurons: Neurons, language: str) -> dict[int, int]:
    return {layer: len(index) for layer, index in neurons.indices(language).items()}


@pytest.mark.parametrize("layer_matched", [False, True])
def test_every_language_has_a_control_of_its_size(layer_matched):
    control = random_control(selected(), seed=1, layer_matched=layer_matched)
    assert control.counts() == selected().counts() == {"en": 35, "fr": 8, "ja": 0}
    assert not control.table.duplicated(["layer", "index"]).any()
    assert control.table.equals(random_control(selected(), 1, layer_matched).table)
    assert not control.table.equals(random_control(selected(), 2, layer_matched).table)


def test_a_matched_control_lies_in_the_same_layers_beside_the_set():
    control = random_control(selected(), seed=1, layer_matched=True)
    for language in ("en", "fr"):
        assert by_layer(control, language) == by_layer(selected(), language)
        for layer, index in selected().indices(language).items():
            assert not np.isin(control.indices(language)[layer], index).any()


@pytest.mark.parametrize("layer_matched", [False, True])
def test_every_neuron_is_as_likely(layer_matched):
    drawn = np.zeros((3, 20))
    small = selected(width=20)
    small = Neurons(small.table[small.table["layer"] == 2], small.sets, Sites.rectangle(3, 20))
    for seed in range(2000):
        for layer, index in random_control(small, seed, layer_matched).indices("fr").items():
            drawn[layer, index] += 1
    if layer_matched:  # 8 of the 12 others of layer 2
        assert not drawn[:2].any() and not drawn[2, :8].any()
        assert drawn[2, 8:] / 2000 == pytest.approx(8 / 12, abs=0.06)
    else:
        assert drawn / 2000 == pytest.approx(8 / 60, abs=0.04)


def test_a_set_of_more_than_half_a_layer_has_no_matched_control():
    with pytest.raises(LapeError, match=r"en owns 30 of the 50 neurons of layer 1 .index 0."):
        random_control(selected(width=50), seed=0, layer_matched=True)
