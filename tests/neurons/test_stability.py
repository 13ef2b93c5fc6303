"""Stability: shards drawn as documented, sets compared as Python's sets are, intervals that cover, curves that bend."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from shards import LANGUAGES, shards_of, truth

from lape.model.sites import Sites
from lape.neurons.agreement import ALL
from lape.neurons.convergence import band, count_interval, curve, tokens_needed
from lape.neurons.selection import select_lape
from lape.neurons.stability import Shards, bootstrap, left_out, select_all, selections, splits
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics


def stacked(shards: dict[str, list[ActivationStatistics]]) -> dict[str, Shards]:
    return {language: Shards.of(iter(parts)) for language, parts in shards.items()}


def select(statistics) -> Neurons:
    return select_lape(statistics, ratio=0.1, quantile=0.8)


def as_sets(neurons: Neurons) -> dict[str, set]:
    """Language -> set of (layer, index), and the union."""
    found = {ALL: set(), **{language: set() for language in neurons.sets}}
    for row in neurons.table.itertuples():
        for language in (ALL, *row.languages):
            found[language].add((row.layer, row.index))
    return found


class Spy:
    """Selects, and keeps what it was given and what it gave."""

    def __init__(self):
        self.given, self.gave = [], []

    def __call__(self, statistics):
        self.given.append(statistics)
        self.gave.append(select(statistics))
        return self.gave[-1]


def weights(statistics: ActivationStatistics, base: int, number: int) -> list[int]:
    """How often each shard was added, where shard s has base^s tokens."""
    digits, rest = [], statistics.tokens
    for _ in range(number):
        rest, digit = divmod(rest, base)
        digits.append(digit)
    return digits


def test_pooled_shards_are_their_sums_exactly():
    parts = shards_of(0)["fr"]
    pooled = Shards.of(parts).pooled(np.array([2, 0, 1, 0, 1]))
    expected = parts[0] + parts[0] + parts[2] + parts[4]
    for name in ("count", "rows", "totals"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(expected, name))
    assert pooled.tokens == expected.tokens
    without = Shards.of(parts, means=False).pooled(np.array([2, 0, 1, 0, 1]))
    np.testing.assert_array_equal(without.count, expected.count)
    assert not without.totals.any()


def test_all_shards_select_what_the_whole_statistics_do():
    shards = shards_of(1)
    whole = {language: sum(parts[1:], parts[0]) for language, parts in shards.items()}
    pd.testing.assert_frame_equal(select_all(stacked(shards), select).table, select(whole).table)


def test_splits_compare_disjoint_groups_of_every_size():
    shards, spy = shards_of(2, tokens=[10**s for s in range(5)]), Spy()
    frame = splits(stacked(shards), spy, resamples=6, seed=3)
    assert list(frame.columns) == ["shards", "resample", "language", "first", "second", "shared"]
    assert len(spy.given) == 2 * 2 * 6 and len(frame) == 2 * 6 * 4
    orders = set()
    for number in range(len(spy.given) // 2):
        pair = slice(2 * number, 2 * number + 2)
        size, resample = divmod(number, 6)
        for language in LANGUAGES:
            first, second = (np.array(weights(given[language], 10, 5)) for given in spy.given[pair])
            assert first.sum() == second.sum() == size + 1
            assert (first + second).max() == 1  # no shard twice
            orders.add((number, *first))
        first, second = map(as_sets, spy.gave[pair])
        rows = frame[(frame["shards"] == size + 1) & (frame["resample"] == resample)].set_index("language")
        assert list(rows.index) == [ALL, *LANGUAGES]
        for language, row in rows.iterrows():
            expected = [len(first[language]), len(second[language]), len(first[language] & second[language])]
            assert row[["first", "second", "shared"]].tolist() == expected
    assert len(orders) > 20  # languages are split independently of one another
    pd.testing.assert_frame_equal(frame, splits(stacked(shards), select, 6, 3))
    assert not frame.equals(splits(stacked(shards), select, 6, 4))


def test_bootstrap_draws_one_shard_fewer_and_counts_selections():
    shards, spy = shards_of(4, tokens=[10**s for s in range(5)]), Spy()
    frame, frequency = bootstrap(stacked(shards), spy, resamples=20, seed=0)
    whole, *gave = map(as_sets, spy.gave)
    drawn = [[weights(given[language], 10, 5) for language in LANGUAGES] for given in spy.given[1:]]
    assert {sum(digits) for draws in drawn for digits in draws} == {4}
    assert max(max(digits) for draws in drawn for digits in draws) > 1  # with replacement
    assert sum(len(set(map(tuple, draws))) > 1 for draws in drawn) > 10  # languages independently

    assert list(frame.columns) == ["resample", "language", "neurons", "shared"]
    for (resample, language), row in frame.set_index(["resample", "language"]).iterrows():
        own = gave[resample][language]
        assert row.tolist() == [len(own), len(own & whole[language])]

    hits = {name: Counter(neuron for found in gave for neuron in found[name]) for name in (ALL, *LANGUAGES)}
    assert [*zip(frequency["layer"], frequency["index"], strict=True)] == sorted(whole[ALL] | set(hits[ALL]))
    assert (frequency["languages"] == "").any()  # selected by a resample, not by all shards
    for row in frequency.to_dict("records"):
        neuron = row["layer"], row["index"]
        assert row["frequency"] == hits[ALL][neuron] / 20
        assert [row[f"frequency_{name}"] for name in LANGUAGES] == [hits[name][neuron] / 20 for name in LANGUAGES]
        assert row["languages"] == ",".join(name for name in LANGUAGES if neuron in whole[name])
    again, often = bootstrap(stacked(shards), select, 20, 0)
    pd.testing.assert_frame_equal(frame, again)
    pd.testing.assert_frame_equal(frequency, often)


def test_the_resamples_vary_as_much_as_independent_samples_would():
    # Drawing all S of them again would give (S - 1) / S of this variance, two thirds with 3 shards.
    shards, seen = shards_of(5, tokens=(100, 100, 100)), []

    def spy(statistics):
        seen.append(np.array([statistics[language].count / statistics[language].tokens for language in LANGUAGES]))
        return empty

    empty = select({language: parts[0] for language, parts in shards.items()})
    bootstrap(stacked(shards), spy, resamples=1500, seed=1)
    found = np.var(seen[1:], axis=0).mean()
    probabilities = np.array([[part.count / 100 for part in parts] for parts in shards.values()])
    assert found == pytest.approx((probabilities.var(axis=1, ddof=1) / 3).mean(), rel=0.1)


def test_leaving_a_language_out_reselects_among_the_others():
    shards = shards_of(6)
    whole = {language: sum(parts[1:], parts[0]) for language, parts in shards.items()}
    frame = left_out(stacked(shards), select)
    before, expected = as_sets(select(whole)), []
    for name in LANGUAGES:
        others = [language for language in LANGUAGES if language != name]
        after = as_sets(select({language: whole[language] for language in others}))
        was = {**before, ALL: set().union(*(before[language] for language in others))}
        expected += [[name, key, len(was[key]), len(after[key]), len(was[key] & after[key])] for key in (ALL, *others)]
    assert frame.to_numpy().tolist() == expected
    assert left_out(stacked(dict(list(shards.items())[:2])), select).empty


def test_the_number_of_selections_is_known_beforehand():
    for languages in (2, 3):
        shards, spy = stacked(dict(list(shards_of(7).items())[:languages])), Spy()
        splits(shards, spy, 3, 0), bootstrap(shards, spy, 3, 0), left_out(shards, spy)
        assert len(spy.given) == selections(shards, 3)


def test_count_intervals_cover_the_truth():
    """60 samples of 8 shards x 500 tokens of 3 languages; the truth is what the probabilities themselves select."""
    rng = np.random.default_rng(8)
    tokens, covered, half_covered = 500, [], []
    for _ in range(60):
        probabilities = truth(rng, 2, 200)
        exact = {
            language: ActivationStatistics.of_counts(np.rint(p * 10**9).astype(np.int64), 10**9)
            for language, p in zip(LANGUAGES, probabilities, strict=True)
        }
        expected = select(exact).counts()
        counts = rng.binomial(tokens, probabilities[:, None], (3, 8, 2, 200))
        shards = {
            language: Shards(
                Sites.rectangle(2, count.shape[2]), count, np.full((8, 2, 1), tokens), np.full(8, tokens), None
            )
            for language, count in zip(LANGUAGES, counts, strict=True)
        }
        frame, _ = bootstrap(shards, select, 60, seed=0)
        for language, rows in frame[frame["language"] != ALL].groupby("language"):
            low, high = count_interval(rows["neurons"])
            middle, half = (low + high) / 2, (high - low) / 4
            covered.append(low <= expected[language] <= high)
            half_covered.append(middle - half <= expected[language] <= middle + half)
    # 97% here; intervals half as wide cover 47%.
    assert np.mean(covered) >= 0.92
    assert np.mean(half_covered) < 0.75


def test_count_interval_is_of_whole_numbers_rounded_outwards():
    assert count_interval(np.arange(101)) == (2, 98)
    assert count_interval([5] * 200) == (5, 5)


def test_band_leaves_out_what_is_undefined():
    assert band([0.25, np.nan, 0.75]) == pytest.approx((0.5, 0.2625, 0.7375))
    assert all(map(math.isnan, band([np.nan])))


def test_tokens_needed_by_interpolation_extrapolation_or_not_at_all():
    tokens = np.array([1000.0, 2000.0, 3000.0, 4000.0])
    # 1 - share = 6 n^-0.5 reaches 5% at 120^2.
    needed, extrapolated = tokens_needed(tokens, 1 - 6 * tokens**-0.5)
    assert extrapolated and needed == pytest.approx(14400)
    # Halfway between two points on a logarithmic axis.
    needed, extrapolated = tokens_needed(tokens, [0.80, 0.94, 0.96, 0.97])
    assert not extrapolated and needed == pytest.approx(math.sqrt(2000 * 3000))
    assert tokens_needed(tokens, [0.97, 0.98, 0.98, 0.99]) == (1000, False)  # an upper bound
    assert tokens_needed(tokens[:2], [0.5, 0.95]) == (pytest.approx(2000), False)
    for shares in ([0.9, 0.9, 0.9, 0.9], [0.93, 0.92, 0.91, 0.9], [0.5, 0.5001, 0.5002, 0.5003], [np.nan] * 4):
        assert math.isnan(tokens_needed(tokens, shares)[0])
    assert math.isnan(tokens_needed(tokens[:1], [0.9])[0])


def test_the_extrapolated_tokens_are_those_that_are_needed():
    """The curve of 8 shards x 100 tokens says how many; two fresh samples of so many tokens share about 95%."""
    rng = np.random.default_rng(9)
    probabilities = dict(zip(LANGUAGES, truth(rng, 4, 500), strict=True))
    shards = {
        language: Shards(
            Sites.rectangle(4, 500), rng.binomial(100, p, (8, 4, 500)), np.full((8, 4, 1), 100), np.full(8, 100), None
        )
        for language, p in probabilities.items()
    }
    frame = curve(splits(shards, select, 12, 0), dict.fromkeys(LANGUAGES, 100.0))
    union = frame[frame["language"] == ALL]
    *_, last = union.itertuples()
    assert last.extrapolated and last.overlap == 0.95 and last.tokens > 800

    def fresh():
        return as_sets(
            select(
                {
                    language: ActivationStatistics.of_counts(rng.binomial(last.tokens, p), last.tokens)
                    for language, p in probabilities.items()
                }
            )
        )[ALL]

    found = np.mean([len(a & b) / len(a) for a, b in ((fresh(), fresh()) for _ in range(5))])
    assert found == pytest.approx(0.95, abs=0.015)


def test_curve_goes_on_at_doublings_up_to_the_tokens_needed():
    sizes = [1, 2]
    rows = [(size, 0, ALL, 100, 100, round(100 - 40 * size**-0.5)) for size in sizes]
    rows += [(size, 0, "no", 10, 30, 10) for size in sizes]
    frame = pd.DataFrame(rows, columns=["shards", "resample", "language", "first", "second", "shared"])
    found = curve(frame, {"no": 100.0, "nan": 300.0})
    union, own = (found[found["language"] == language] for language in (ALL, "no"))
    b = math.log(40 / 28) / math.log(2)
    needed = 200 * (0.40 / 0.05) ** (1 / b)
    doublings = [400 * 2**step for step in range(1, 30) if 400 * 2**step < needed]
    assert union["tokens"].tolist() == [200, 400, *doublings, round(needed)]
    shares = [1 - 0.40 * (tokens / 200) ** -b for tokens in doublings]
    assert union["overlap"].tolist() == pytest.approx([0.60, 0.72, *shares, 0.95])
    assert union["extrapolated"].tolist() == [False, False, *[True] * (1 + len(doublings))]
    assert union["shards"].isna().sum() == union["low"].isna().sum() == 1 + len(doublings)
    # Sets of two sizes: the share of both together; a curve that does not rise is not drawn out.
    assert own["overlap"].tolist() == [2 * 10 / 40] * 2
    assert own["tokens"].tolist() == [100, 200]
