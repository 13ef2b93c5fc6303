"""LAPE against an independent computation of its definition, on random counts, ties included."""

import math

import numpy as np
import pytest

from lape.errors import LapeError
from lape.neurons import Neurons
from lape.selection import random_control, select_lape
from lape.statistics import ActivationStatistics

LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")


def statistics(layers, neurons, languages, tokens, seed, levels=None) -> dict[str, ActivationStatistics]:
    """Random counts; with few `levels` there are many ties. Every language has its own denominator."""
    rng = np.random.default_rng(seed)
    result = {}
    for k, language in enumerate(LANGUAGES[:languages]):
        n = tokens + (k if levels is None else 0)
        count = rng.integers(0, n + 1, (layers, neurons)) if levels is None else rng.choice(levels, (layers, neurons))
        result[language] = ActivationStatistics.of_counts(count.astype(np.int64), n)
    return result


def by_definition(stats, ratio, quantile):
    """The six lines of the definition, one neuron at a time, sorted by (entropy, layer, index)."""
    languages = list(stats)
    layers, neurons = stats[languages[0]].count.shape
    P = np.empty((layers, neurons, len(languages)), np.float32)
    for k, language in enumerate(languages):
        P[..., k] = stats[language].count / stats[language].tokens
    T = np.sort(P, axis=None)[round(P.size * quantile) - 1]
    candidates = []
    for layer in range(layers):
        for index in range(neurons):
            p = P[layer, index]
            if not (p > T).any():
                continue
            q = p / p.sum()
            H = -(q[q > 0] * np.log(q[q > 0])).sum(dtype=np.float64)
            candidates.append((round(float(H), 5), float(H), layer, index))
    wanted = round(layers * neurons * ratio)
    return candidates, P, T, wanted, languages


@pytest.mark.parametrize(
    "layers, neurons, languages, tokens, levels",
    [
        (4, 100, 7, 10_000, None),
        (32, 64, 6, 999, None),
        (1, 1000, 2, 50, None),
        (8, 50, 3, 7, None),
        (6, 80, 7, 100, (0, 1, 50, 99, 100)),
        (3, 200, 2, 10, (0, 5, 10)),
    ],
)
@pytest.mark.parametrize("ratio, quantile", [(0.01, 0.95), (0.1, 0.5), (0.3, 0.99)])
def test_selection_equals_the_definition(layers, neurons, languages, tokens, levels, ratio, quantile):
    stats = statistics(layers, neurons, languages, tokens, seed=layers, levels=levels)
    selected = select_lape(stats, ratio, quantile)
    candidates, P, T, wanted, names = by_definition(stats, ratio, quantile)
    assert selected.summary["threshold"] == T
    assert len(selected.table) == min(wanted, len(candidates))

    # Entropies are equal but for rounding; within a tie the order is layer, then index.
    candidates.sort(key=lambda candidate: (candidate[0], candidate[2], candidate[3]))
    expected = {candidate[2:] for candidate in candidates[: len(selected.table)]}
    got = set(zip(selected.table["layer"], selected.table["index"], strict=True))
    cut = selected.summary["entropy_at_cut"]
    exact = {candidate[2:]: candidate[1] for candidate in candidates}
    for neuron in expected ^ got:  # only neurons whose entropy is the cut's, but for float32 rounding, may differ
        assert exact[neuron] == pytest.approx(cut, abs=2e-6)

    for row in selected.table.itertuples():
        p = P[row.layer, row.index]
        assert row.languages == tuple(np.array(names)[p > T])
        assert row.entropy == pytest.approx(exact[row.layer, row.index], abs=2e-6)
        assert [getattr(row, f"probability_{name}") for name in names] == p.tolist()
    assert selected.summary["entropy_maximum"] == pytest.approx(math.log(languages))
    assert list(selected.table.sort_values(["layer", "index"]).index) == list(range(len(got)))


def test_exact_ties_at_the_cut_go_to_the_lower_layer_then_index():
    # Half of the neurons never fire, a quarter fires on both languages, a quarter on one: their entropies are 0.
    en, fr = np.zeros((2, 3, 200), np.int64)
    en[:, 1::2] = 10
    fr[:, 1::4] = 10
    stats = {"en": ActivationStatistics.of_counts(en, 10), "fr": ActivationStatistics.of_counts(fr, 10)}
    selected = select_lape(stats, ratio=0.2, quantile=0.5)
    assert selected.summary["threshold"] == 0
    assert list(zip(selected.table["layer"], selected.table["index"], strict=True)) == [
        divmod(position, 200) for position in range(3, 480, 4)
    ]
    assert selected.counts() == {"en": 120, "fr": 0}  # a language without neurons is still there, by name


def test_fewer_candidates_than_wanted_are_all_taken_and_said(caplog):
    count = np.ones((1, 100), np.int64)
    count[0, :3] = 10
    stats = {name: ActivationStatistics.of_counts(count, 10) for name in ("en", "fr")}
    selected = select_lape(stats, ratio=0.5, quantile=0.97)
    assert list(selected.table["index"]) == [0, 1, 2]
    assert "50 are wanted and only 3" in caplog.text
    assert selected.summary["wanted"] == 50 and selected.summary["selected"] == 3


def test_a_neuron_that_never_fires_is_never_selected():
    count = np.zeros((1, 10), np.int64)
    count[0, 0] = 5
    stats = {name: ActivationStatistics.of_counts(count, 10) for name in ("en", "fr")}
    assert list(select_lape(stats, ratio=1.0, quantile=0.5).table["index"]) == [0]


@pytest.mark.parametrize("ratio, quantile", [(0, 0.95), (1.1, 0.95), (0.01, 0), (0.01, 1.5)])
def test_parameters_out_of_range_are_refused(ratio, quantile):
    with pytest.raises(LapeError, match=r"outside \(0, 1\]"):
        select_lape(statistics(1, 10, 2, 10, 0), ratio, quantile)


def test_statistics_of_different_shapes_are_refused():
    stats = statistics(1, 10, 2, 10, 0) | {"fr": statistics(2, 10, 1, 10, 0)["en"]}
    with pytest.raises(LapeError, match="differ in shape"):
        select_lape(stats)


def test_control_is_as_large_as_the_largest_set_and_repeatable():
    selected = select_lape(statistics(4, 100, 7, 1000, 1), 0.2)
    control = random_control(selected, seed=3)
    assert len(control.table) == max(selected.counts().values()) == control.counts()["random"]
    assert not control.table.duplicated(["layer", "index"]).any()
    assert control.table.equals(random_control(selected, seed=3).table)
    assert not control.table.equals(random_control(selected, seed=4).table)


def test_neurons_survive_saving(tmp_path):
    stats = statistics(4, 50, 3, 100, 2)
    stats = {"no": stats["en"], "nan": stats["zh"], "fr": stats["fr"]}  # codes that readers take for booleans and NaN
    selected = select_lape(stats, 0.1)
    selected.save(tmp_path / "lape.tsv")
    header = {"artifact": "neurons", "sets": list(selected.sets), "layers": 4, "neurons_per_layer": 50}
    from lape.artifact import write_json

    write_json(tmp_path / "lape.json", header)
    loaded = Neurons.load(tmp_path / "lape.json")
    assert loaded.counts() == selected.counts()
    assert (loaded.table["entropy"] == selected.table["entropy"]).all()
    assert list(loaded.table["languages"]) == list(selected.table["languages"])
    for name in loaded.sets:
        for layer, index in loaded.indices(name).items():
            assert (index == selected.indices(name)[layer]).all() and (np.diff(index) > 0).all()
    with pytest.raises(LapeError, match="no set 'de'; there are no, nan, fr"):
        loaded.indices("de")
