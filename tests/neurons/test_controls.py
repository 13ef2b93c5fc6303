"""Controls: their sizes, where they lie, that they are drawn evenly, and that matched ones are as active."""

import numpy as np
import pandas as pd
import pytest

from lape.errors import LapeError
from lape.model.sites import Sites
from lape.neurons.controls import activity, activity_matched_control, random_control
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics


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


def test_a_matched_control_lies_in_the_same_layers():
    control = random_control(selected(), seed=1, layer_matched=True)
    for language in ("en", "fr"):
        assert by_layer(control, language) == by_layer(selected(), language)


@pytest.mark.parametrize("draw", ["random", "layer_matched", "activity_matched"])
def test_no_control_holds_a_neuron_of_any_language(draw):
    for seed in range(5):
        if draw == "activity_matched":
            control = activity_matched_control(selected(), counted(), seed)
        else:
            control = random_control(selected(), seed, draw == "layer_matched")
        assert not set(control.numbers()) & set(selected().numbers())


@pytest.mark.parametrize("layer_matched", [False, True])
def test_every_neuron_is_as_likely(layer_matched):
    drawn = np.zeros((3, 20))
    small = selected(width=20)
    small = Neurons(small.table[small.table["layer"] == 2], small.sets, Sites.rectangle(3, 20))
    for seed in range(2000):
        for layer, index in random_control(small, seed, layer_matched).indices("fr").items():
            drawn[layer, index] += 1
    free = np.ones((3, 20), bool)
    free[2, :8] = False
    if layer_matched:  # 8 of the 12 others of layer 2
        free[:2] = False
    assert not drawn[~free].any()
    assert drawn[free] / 2000 == pytest.approx(8 / free.sum(), abs=0.06)


@pytest.mark.parametrize("draw", ["layer_matched", "activity_matched"])
def test_one_neuron_less_changes_one_neuron_of_its_language_and_layer(draw):
    def drawn(neurons):
        if draw == "activity_matched":
            return activity_matched_control(neurons, counted(), seed=3)
        return random_control(neurons, seed=3, layer_matched=True)

    table = selected().table
    fewer = Neurons(table.drop(index=4).reset_index(drop=True), selected().sets, selected().sites)
    before, after = drawn(selected()), drawn(fewer)
    assert before["fr"].table.equals(after["fr"].table)
    for layer, index in before.indices("en").items():
        lost = set(index) - set(after.indices("en")[layer])
        assert len(lost) == 0 if layer else 1 <= len(lost) <= 5


def test_too_few_neurons_are_told(caplog):
    control = random_control(selected(width=50), seed=0, layer_matched=True)
    assert control.counts() == {"en": 25, "fr": 8, "ja": 0}
    assert control.summary["missing"] == {"en": 10, "fr": 0, "ja": 0}
    assert "control of en: lacks 10 neurons" in caplog.text
    assert activity_matched_control(selected(width=50), counted(50), seed=0).counts() == control.counts()


def counted(width: int = 200) -> dict[str, ActivationStatistics]:
    """Activity of any kind; in layer 2 a neuron's probability is its index / width, in each language another order."""
    found = {}
    for place, language in enumerate(("en", "fr", "ja")):
        rng = np.random.default_rng(place)
        count = rng.integers(0, 1000, (3, width))
        count[2] = np.roll(np.arange(width) * 1000 // width, 40 * place)
        found[language] = ActivationStatistics.of_counts(count, 1000)
    return found


def test_an_activity_matched_control_is_as_active_in_the_language():
    known = {language: activity(selected(), counted(), language)[:, 0] for language in ("en", "fr")}
    closest = activity_matched_control(selected(), counted(), seed=0, nearest=1)
    for language, probability in known.items():
        own, drawn, loose = (
            probability[neurons.numbers()[[language in names for names in neurons.table["languages"]]]]
            for neurons in (selected(), closest, activity_matched_control(selected(), counted(), seed=0))
        )
        assert len(own) == len(drawn)
        assert np.abs(np.sort(own) - np.sort(drawn)).max() < 0.06
        assert abs(own.mean() - loose.mean()) < 0.05
    places = closest.indices("fr")[2]
    # fr's neurons of layer 2 have the probabilities of 160 to 167, rolled by 40; the nearest others are beside them.
    assert set(places) <= {*range(8, 16), *range(192, 200)}


def test_draws_differ_and_one_languages_draw_is_the_same_alone():
    first, second = (activity_matched_control(selected(), counted(), seed) for seed in (0, 1))
    assert not first.table.equals(second.table) and first.counts() == second.counts() == selected().counts()
    alone = activity_matched_control(selected(), {"fr": counted()["fr"]}, 0, languages=["fr"])
    assert alone.indices("fr")[2].tolist() == first.indices("fr")[2].tolist() and alone.counts()["en"] == 0


def test_what_an_activity_matched_control_refuses():
    with pytest.raises(LapeError, match="no statistics of ja; pass those of each of its languages"):
        activity_matched_control(selected(), {name: counted()[name] for name in ("en", "fr")}, 0)
    with pytest.raises(LapeError, match=r"the statistics of en are of another .3 layers x 50 neurons."):
        activity_matched_control(selected(), counted(50), 0)
    with pytest.raises(LapeError, match=r"nearest 0: .* raise --nearest"):
        activity_matched_control(selected(), counted(), 0, nearest=0)
