"""How neurons are numbered: rectangles as before, and models whose layers differ."""

import numpy as np
import pandas as pd
import pytest

from lape.errors import LapeError
from lape.model.sites import Site, Sites

# A dense layer, one without an FFN, and one of three experts beside a shared one.
RAGGED = Sites(3, (Site(0, "dense", 1, 5), Site(2, "experts", 3, 4), Site(2, "shared", 1, 6)))
WIDTHS = Sites(2, (Site(0, "dense", 1, 5), Site(1, "dense", 1, 3)))


@pytest.mark.parametrize(
    ("sites", "columns"),
    [
        (Sites.rectangle(3, 8), ["layer", "index"]),
        (Sites.rectangle(3, 8, experts=2), ["layer", "expert", "index"]),
        (WIDTHS, ["layer", "index"]),
        (RAGGED, ["layer", "kind", "expert", "index"]),
    ],
)
def test_every_neuron_is_found_again(sites, columns):
    every = np.arange(sites.neurons)
    table = pd.DataFrame(sites.located(every))
    assert list(table) == columns and not table.duplicated().any()
    assert (sites.numbers(table) == every).all()
    assert sites.neurons == sites.starts[-1] == sites.block_widths.sum() == np.prod(sites.shape)
    again = sites.by_layer(every)
    assert all(
        (places == np.arange(sites.starts[layer + 1] - sites.starts[layer])).all() for layer, places in again.items()
    )
    assert Sites.of(sites.description()) == sites


def test_a_rectangle_is_described_as_ever_and_a_ragged_model_by_its_sites():
    assert Sites.rectangle(3, 8, 2).description() == {"layers": 3, "neurons_per_layer": 8, "experts": 2}
    assert (Sites.rectangle(3, 8, 2).shape, Sites.rectangle(3, 8, 2).block_shape) == ((3, 8), (3, 2))
    assert RAGGED.description()["sites"] == [[0, "dense", 1, 5], [2, "experts", 3, 4], [2, "shared", 1, 6]]
    assert (RAGGED.shape, RAGGED.block_shape, RAGGED.starts.tolist()) == ((23,), (5,), [0, 5, 5, 23])
    assert "3 layers, 2 of them with an FFN, of 23 neurons" in str(RAGGED)


def test_places_are_those_of_the_blocks():
    located = pd.DataFrame(RAGGED.located(np.array([4, 5, 12, 17])))
    assert located.values.tolist() == [
        [0, "dense", 0, 4],
        [2, "experts", 0, 0],
        [2, "experts", 1, 3],
        [2, "shared", 3, 0],
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"layer": 3, "expert": 0, "index": 0}, "a layer that"),
        ({"layer": 1, "expert": 0, "index": 0}, "an expert that"),
        ({"layer": 2, "expert": 4, "index": 0}, "an expert that"),
        ({"layer": 2, "expert": 3, "index": 6}, "a neuron that"),
        ({"layer": 0, "expert": 0, "index": -1}, "a neuron that"),
    ],
)
def test_what_the_model_does_not_have_is_refused(row, message):
    with pytest.raises(LapeError, match=message):
        RAGGED.numbers(pd.DataFrame([row]))
