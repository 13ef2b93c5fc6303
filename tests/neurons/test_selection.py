"""LAPE, LAVE and LAP against independent computations of their definitions, ties and options included."""

import dataclasses
import math

import numpy as np
import pytest

from lape.display.layers import ranges
from lape.errors import LapeError
from lape.neurons.selection import select_lap, select_lape, select_lave
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

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


def test_neurons_of_no_language_and_one_text_for_two_are_said(caplog):
    stats = statistics(2, 50, 3, 100, seed=3)
    select_lape(stats, 0.5, 0.3)
    assert "the highest entropy of a selected neuron is 0.99, 90% of the maximum" in caplog.text
    assert "the same counts" not in caplog.text
    caplog.clear()
    select_lape(stats | {"fr": stats["zh"]}, 0.02, 0.95, entropy_ceiling=0.9)
    assert "zh and fr have the same counts: the same text stands for both" in caplog.text
    assert "highest entropy" not in caplog.text


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


def with_means(layers, neurons, languages, tokens, seed) -> tuple[dict[str, ActivationStatistics], np.ndarray]:
    """Statistics with random sums of the activation, about half of them negative; and the means [L, I, K]."""
    rng = np.random.default_rng(seed)
    sums = rng.integers(-tokens, tokens, (languages, layers, neurons))
    result = {}
    for language, own in zip(LANGUAGES, sums, strict=False):
        plain = ActivationStatistics.of_counts(rng.integers(0, tokens, (layers, neurons)), tokens)
        result[language] = dataclasses.replace(plain, totals=np.stack([own, np.zeros_like(own)]))
    return result, np.moveaxis(sums, 0, -1) / tokens


@pytest.mark.parametrize(
    "negative, counted",
    [
        ("zero", lambda means: [max(mean, 0.0) for mean in means]),
        ("absolute", lambda means: [abs(mean) for mean in means]),
        ("shift", lambda means: [mean - min(min(means), 0.0) for mean in means]),
    ],
)
def test_lave_takes_the_lowest_entropy_of_the_means(negative, counted):
    stats, means = with_means(3, 60, 4, 1000, seed=7)
    values = {place: counted(means[place].tolist()) for place in np.ndindex(means.shape[:2])}
    threshold = sorted(value for row in values.values() for value in row)[round(means.size * 0.8) - 1]
    entropy = {}
    for place, row in values.items():
        if max(row) > threshold * (1 + 1e-6):
            shares = [value / sum(row) for value in row if value > 0]
            entropy[place] = -sum(share * math.log(share) for share in shares)
    expected = sorted(entropy, key=lambda place: (round(entropy[place], 6), place))[:18]

    selected = select_lave(stats, ratio=0.1, quantile=0.8, negative=negative)
    assert sorted(expected) == list(zip(selected.table["layer"], selected.table["index"], strict=True))
    assert selected.summary["threshold"] == pytest.approx(threshold, rel=1e-6)
    for row in selected.table.itertuples():
        own = values[row.layer, row.index]
        assert row.entropy == pytest.approx(entropy[row.layer, row.index], abs=2e-6)
        assert [getattr(row, f"mean_{name}") for name in LANGUAGES[:4]] == pytest.approx(own, abs=1e-6)
        above = [name for name, value in zip(LANGUAGES, own, strict=False) if value > threshold * (1 + 1e-6)]
        assert row.languages == tuple(above)


def test_lave_needs_sums():
    with pytest.raises(LapeError, match="no sums of activations"):
        select_lave(statistics(2, 10, 2, 10, 0))


def test_lap_takes_what_fires_at_nearly_every_token():
    stats = statistics(2, 100, 3, 1000, seed=1)
    probabilities = {name: value.count / value.tokens for name, value in stats.items()}
    firing = {
        (layer, index): tuple(name for name, value in probabilities.items() if value[layer, index] > 0.95)
        for layer, index in np.ndindex(2, 100)
    }
    firing = {place: names for place, names in firing.items() if names}
    selected = select_lap(stats, ratio=1)
    table = selected.table
    got = dict(zip(zip(table["layer"], table["index"], strict=True), table["languages"], strict=True))
    assert got == firing and len(firing) > 15

    highest = {place: max(value[place] for value in probabilities.values()) for place in firing}
    few = select_lap(stats, ratio=0.05).table
    expected = sorted(firing, key=lambda place: (-np.float32(highest[place]), place))[:10]
    assert list(zip(few["layer"], few["index"], strict=True)) == sorted(expected)


def two_languages() -> dict[str, ActivationStatistics]:
    """Ten neurons: 0 to 3 of en alone (entropy rising), 4 to 7 of fr, 8 of both, 9 of none."""
    en = np.array([[1000, 1000, 1000, 1000, 0, 10, 20, 30, 900, 5]])
    fr = np.array([[0, 10, 20, 30, 1000, 1000, 1000, 1000, 950, 5]])
    return {name: ActivationStatistics.of_counts(value, 1000) for name, value in (("en", en), ("fr", fr))}


def indices(neurons: Neurons) -> dict[str, list[int]]:
    return {name: np.concatenate([*neurons.indices(name).values(), []]).tolist() for name in neurons.sets}


def test_options_change_the_selection_as_they_say():
    stats, wide = two_languages(), {"ratio": 1.0, "quantile": 0.5}
    assert indices(select_lape(stats, **wide)) == {"en": [0, 1, 2, 3, 8], "fr": [4, 5, 6, 7, 8]}
    assert indices(select_lape(stats, **wide, assignment="maximum")) == {"en": [0, 1, 2, 3], "fr": [4, 5, 6, 7, 8]}
    assert indices(select_lape(stats, **wide, quota=2)) == {"en": [0, 1], "fr": [4, 5]}
    # Neuron 3: shares 1000/1030 and 30/1030; neuron 8 is nearly even.
    entropy = -sum(share * math.log(share) for share in (1000 / 1030, 30 / 1030)) / math.log(2)
    assert 8 not in select_lape(stats, **wide, entropy_ceiling=entropy + 1e-4).table["index"].tolist()
    assert indices(select_lape(stats, **wide, entropy_ceiling=entropy - 1e-4)) == {"en": [0, 1, 2], "fr": [4, 5, 6]}


def test_a_quota_counts_a_shared_neuron_where_it_is_among_the_first():
    en, fr = np.array([[100, 90, 80, 0]]), np.array([[0, 90, 60, 100]])
    stats = {name: ActivationStatistics.of_counts(value, 100) for name, value in (("en", en), ("fr", fr))}
    # By entropy: 0 and 3 (of one language), 2, then 1 (even).
    assert indices(select_lape(stats, quantile=0.25, quota=2)) == {"en": [0, 2], "fr": [2, 3]}
    assert indices(select_lape(stats, quantile=0.25, quota=3)) == {"en": [0, 1, 2], "fr": [1, 2, 3]}


def test_a_quota_of_lap_takes_each_languages_own_first():
    # Neuron 0 is higher than neuron 1 in en, and lower in fr.
    counts = {"en": [[1000, 100, 0]], "fr": [[951, 990, 0]]}
    stats = {name: ActivationStatistics.of_counts(np.array(value), 1000) for name, value in counts.items()}
    assert indices(select_lap(stats, quota=1)) == {"en": [0], "fr": [1]}


def test_too_small_a_quota_of_neurons_is_said(caplog):
    select_lape(two_languages(), quantile=0.5, quota=7)
    assert "7 of en are wanted and only 5" in caplog.text


def test_a_rare_experts_neurons_are_left_out():
    # Two experts of two neurons; one token reached the second expert in fr, and its neuron 3 fired there.
    count = {"en": [[500, 10, 0, 0]], "fr": [[500, 0, 0, 1]]}
    rows = {"en": [[500, 500]], "fr": [[999, 1]]}
    stats = {
        name: dataclasses.replace(
            ActivationStatistics.of_counts(np.array(count[name]), 1000, experts=2), rows=np.array(rows[name])
        )
        for name in count
    }
    everything = select_lape(stats, ratio=1, quantile=0.1)
    assert (1, 1) in set(zip(everything.table["expert"], everything.table["index"], strict=True))
    assert set(select_lape(stats, ratio=1, quantile=0.1, minimum_tokens=100).table["expert"]) == {0}


@pytest.mark.parametrize(
    "method, options, key",
    [
        (select_lape, {"assignment": "both"}, "neurons.assignment"),
        (select_lape, {"quota": 0}, "neurons.quota"),
        (select_lape, {"entropy_ceiling": 1.5}, "neurons.entropy_ceiling"),
        (select_lave, {"negative": "drop"}, "neurons.lave_negative"),
        (select_lap, {"probability": 0}, "neurons.lap_probability"),
        (select_lap, {"ratio": 0.0001}, "neurons.ratio"),
    ],
)
def test_options_out_of_range_are_refused_by_name(method, options, key):
    with pytest.raises(LapeError, match=key):
        method(with_means(1, 100, 2, 100, 0)[0], **options)


def test_neurons_survive_saving(tmp_path):
    stats = statistics(4, 50, 3, 100, 2)
    stats = {"no": stats["en"], "nan": stats["zh"], "fr": stats["fr"]}  # codes that readers take for booleans and NaN
    selected = select_lape(stats, 0.1)
    selected.save(tmp_path / "lape.tsv")
    header = {"artifact": "neurons", "sets": list(selected.sets), "layers": 4, "neurons_per_layer": 50}
    from lape.artifacts.files import write_json

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


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], ""),
        ([0], "1"),
        ([*range(17, 10, -1), 0, 12], "1, 12-18"),
        ([0, 2, 4, 5], "1, 3, 5-6"),
    ],
)
def test_layers_are_told_from_1(layers, words):
    assert ranges(layers) == words
