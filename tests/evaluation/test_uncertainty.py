"""Uncertainty: each number against a plain computation, and intervals that cover a known truth."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from lape.evaluation.uncertainty import (
    change,
    change_interval,
    holm,
    over_draws,
    paired_share_interval,
    resamples,
    share_interval,
    sign_flip_test,
    smallest_p,
)


def chunks(rng, number, rise=1.5, spread=0.3):
    """NLL sums with and without a perturbation, and tokens: chunks of different difficulty, skewed rises."""
    tokens = np.full(number, 127.0)
    baseline = tokens * (3 + 0.25 * rng.standard_normal(number))
    return baseline + tokens * rng.gamma(spread**-2, rise * spread**2, number), baseline, tokens


def plain_change(perturbed, baseline, sizes, perplexity):
    """`change` in loops."""
    total, number = sum(sizes), len(sizes)
    means = sum(perturbed) / total, sum(baseline) / total
    values = [math.exp(mean) if perplexity else mean for mean in means]
    slopes = values if perplexity else (1.0, 1.0)
    squares = 0.0
    for one, other, size in zip(perturbed, baseline, sizes, strict=True):
        influence = slopes[0] * (one - means[0] * size) - slopes[1] * (other - means[1] * size)
        squares += (influence * number / total) ** 2
    return values[0] - values[1], math.sqrt(squares / number / (number - 1))


def plain_quantile(values, level):
    values = sorted(values)
    place = level * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def test_the_standard_error_is_that_of_a_mean_where_chunks_are_alike():
    perturbed, baseline, tokens = chunks(np.random.default_rng(0), 20)
    value, error = change(perturbed, baseline, tokens)
    rises = list((perturbed - baseline) / 127)
    assert value == pytest.approx(statistics.fmean(rises))
    assert error == pytest.approx(statistics.stdev(rises) / math.sqrt(20))


@pytest.mark.parametrize("perplexity", [False, True])
def test_the_standard_error_is_the_spread_of_many_samples(perplexity):
    rng = np.random.default_rng(1)
    perturbed, baseline, _ = chunks(rng, 100 * 4000, rise=0.3)
    bytes_of_chunks = rng.integers(300, 700, 100 * 4000)
    # Larger chunks have a larger NLL, as a ratio of sums expects.
    samples = [(part * bytes_of_chunks / 500).reshape(4000, 100) for part in (perturbed, baseline)]
    values, errors = change(*samples, bytes_of_chunks.reshape(4000, 100), perplexity)
    assert np.median(errors) == pytest.approx(values.std(), rel=0.05)


@pytest.mark.parametrize("perplexity", [False, True])
@pytest.mark.parametrize("number", [4, 16])
def test_the_interval_is_the_bootstrap_t(number, perplexity):
    perturbed, baseline, _ = chunks(np.random.default_rng(2), number)
    sizes = np.random.default_rng(3).integers(300, 700, number).astype(float)
    draws = resamples(number, 200, 0)
    reference = math.exp(sum(baseline) / sum(sizes))

    def studied(*columns):
        value, error = plain_change(*columns, perplexity)
        return (math.log(1 + value / reference), error / (reference + value)) if perplexity else (value, error)

    value, error = studied(perturbed, baseline, sizes)
    studentised = []
    for draw in draws:
        if len(set(draw)) > 1:
            again, own = studied(*(column[draw].tolist() for column in (perturbed, baseline, sizes)))
            studentised.append((again - value) / own)
    bounds = [value - plain_quantile(studentised, level) * error for level in (0.975, 0.025)]
    if perplexity:
        bounds = [reference * (math.exp(bound) - 1) for bound in bounds]
    assert change_interval(perturbed, baseline, sizes, draws, perplexity) == pytest.approx(bounds, rel=1e-9)


@pytest.mark.parametrize(("number", "rise", "spread"), [(4, 1.5, 0.3), (16, 0.1, 1.0), (16, 1.5, 0.3), (16, 6, 0.2)])
@pytest.mark.parametrize("perplexity", [False, True])
def test_the_interval_covers_the_truth_and_the_percentiles_less(number, rise, spread, perplexity):
    rng = np.random.default_rng(4)
    truth = math.exp(3 + rise) - math.exp(3) if perplexity else rise
    covered = simple = 0
    for trial in range(500):
        sample = chunks(rng, number, rise, spread)
        draws = resamples(number, 400, trial)
        low, high = change_interval(*sample, draws, perplexity)
        covered += low <= truth <= high
        again, _ = change(*(column[draws] for column in sample), perplexity)
        simple += np.quantile(again, 0.025) <= truth <= np.quantile(again, 0.975)
    # 95% is meant; 500 samples tell to about 1%.
    assert 0.915 <= covered / 500 <= 0.985
    assert simple < covered


@pytest.mark.parametrize("fall", [0.2, 2.0])
def test_the_interval_covers_a_fall_of_the_perplexity(fall):
    rng = np.random.default_rng(4)
    tokens, truth, covered = np.full(16, 127.0), math.exp(3 - fall) - math.exp(3), 0
    for trial in range(300):
        baseline = tokens * rng.normal(3, 0.3, 16)
        low, high = change_interval(
            baseline - tokens * rng.normal(fall, 0.6, 16), baseline, tokens, resamples(16, 400, trial), True
        )
        covered += low <= truth <= high
    assert 0.9 <= covered / 300 <= 0.985


def test_intervals_of_nothing_of_little_and_of_large_changes():
    perturbed, baseline, tokens = chunks(np.random.default_rng(5), 8, rise=9, spread=1.0)
    draws = resamples(8, 500, 0)
    for perplexity in (False, True):
        assert change_interval(baseline, baseline, tokens, draws, perplexity) == (0.0, 0.0)
        few = change_interval(perturbed[:3], baseline[:3], tokens[:3], resamples(3, 500, 0), perplexity)
        assert np.isnan(few).all()
    low, high = change_interval(perturbed, baseline, tokens, draws, perplexity=True)
    assert -math.exp(sum(baseline) / sum(tokens)) < low < high


def test_draws_are_the_same_for_a_seed_and_differ_between_seeds():
    first = resamples(16, 100, [0, *b"fr"])
    assert first.shape == (100, 16) and first.min() == 0 and first.max() == 15
    assert np.array_equal(first, resamples(16, 100, [0, *b"fr"]))
    assert not np.array_equal(first, resamples(16, 100, [0, *b"id"]))
    assert not np.array_equal(first, resamples(16, 100, [1, *b"fr"]))


def outcomes(both, first, second, neither):
    """Pairs of 0 and 1, so many of each kind."""
    kinds = [both, first, second, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], kinds), np.repeat([1.0, 0.0, 1.0, 0.0], kinds)


def test_the_interval_of_paired_shares_is_that_of_the_literature():
    # Altman et al. 2000, Statistics with Confidence, table 6.2 (after Newcombe 1998): 0.011 to 0.226.
    assert paired_share_interval(*outcomes(14, 5, 0, 22)) == pytest.approx((0.011, 0.226), abs=0.0005)
    # Fagerland et al. 2014, complete response before and after consolidation: -0.1186 to -0.0046.
    assert paired_share_interval(*outcomes(59, 6, 16, 80)) == pytest.approx((-0.1186, -0.0046), abs=0.00005)
    low, high = paired_share_interval(*outcomes(59, 6, 16, 80)[::-1])
    assert (low, high) == pytest.approx((0.0046, 0.1186), abs=0.00005)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 40, 331, 4096])
def test_a_share_s_interval_has_the_bits_of_scipy_s(number):
    for hits in {0, 1, number // 3, number // 2, number - 1, number}:
        assert share_interval(hits, number) == tuple(stats.binomtest(hits, number).proportion_ci(method="wilson"))


def test_equal_differences_have_no_point_for_an_interval():
    # Wilson's upper bound of 0 of 20 is z^2 / (20 + z^2), and nothing correlates.
    bound = 1.959963984540054**2 / (20 + 1.959963984540054**2)
    assert share_interval(0, 20) == pytest.approx((0, bound)) and share_interval(20, 20) == pytest.approx(
        (1 - bound, 1)
    )
    for table in ((0, 0, 0, 20), (20, 0, 0, 0)):
        assert paired_share_interval(*outcomes(*table)) == pytest.approx((-bound, bound))
    assert paired_share_interval(*outcomes(0, 20, 0, 0)) == pytest.approx((1 - math.sqrt(2) * bound, 1))
    # 10 of 20 stay: the bounds of both lie 0.5 - low apart, and their correlation is 1 - 10 / 100 after the correction.
    apart = 0.5 - share_interval(10, 20)[0]
    width = apart * math.sqrt(2 - 2 * 0.9)
    assert paired_share_interval(*outcomes(10, 0, 0, 10)) == pytest.approx((-width, width))
    # All change: a correlation of -1 is not corrected.
    assert paired_share_interval(*outcomes(0, 10, 10, 0)) == pytest.approx((-2 * apart, 2 * apart))


def test_pairs_without_a_value_are_left_out_of_an_interval():
    values, baseline = outcomes(3, 4, 1, 5)
    gaps = np.insert(values, 2, [np.nan, 1.0]), np.insert(baseline, 2, [0.0, np.nan])
    assert paired_share_interval(*gaps) == paired_share_interval(values, baseline)
    assert np.isnan(paired_share_interval(np.full(5, np.nan), np.ones(5))).all()
    assert np.isnan(paired_share_interval(np.ones(0), np.ones(0))).all()


@pytest.mark.parametrize("number", [12, 50])
@pytest.mark.parametrize(
    "shares", [(0.1, 0.5, 0.05, 0.35), (0.02, 0.1, 0.01, 0.87), (0.4, 0.1, 0.1, 0.4), (0, 0.9, 0, 0.1)]
)
def test_the_interval_of_paired_shares_covers_the_truth(number, shares):
    rng, bounds, covered, simple = np.random.default_rng(12), {}, 0, 0
    for _ in range(600):
        table = tuple(rng.multinomial(number, shares).tolist())
        if table not in bounds:
            values, baseline = outcomes(*table)
            again = (values - baseline)[resamples(number, 400, 0)].mean(axis=1)
            bounds[table] = paired_share_interval(values, baseline), np.quantile(again, [0.025, 0.975])
        (low, high), (simple_low, simple_high) = bounds[table]
        truth = shares[1] - shares[2]
        covered += low <= truth <= high
        simple += simple_low - 1e-9 <= truth <= simple_high + 1e-9
    # 95% is meant; 600 samples tell to about 1%.
    assert covered / 600 >= 0.92
    assert simple <= covered + 12


def plain_sign_flips(differences):
    observed = abs(math.fsum(differences))
    sums = [
        abs(math.fsum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= observed * (1 - 1e-12) for total in sums) / len(sums)


@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_sign_flips_are_all_of_them_where_chunks_are_few(number):
    differences = np.random.default_rng(6).normal(0.5, 1, (3, 2, number))
    found = sign_flip_test(differences)
    assert found.shape == (3, 2)
    assert found.ravel() == pytest.approx([plain_sign_flips(row) for row in differences.reshape(6, number)])


def test_sign_flips_agree_with_scipy():
    differences = np.random.default_rng(7).normal(0.4, 1, (4, 12))
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", axis=-1, vectorized=True, n_resamples=np.inf
    )
    assert sign_flip_test(differences) == pytest.approx(theirs.pvalue)


def test_ties_count_and_the_smallest_p_value_is_known():
    assert sign_flip_test(np.array([0.1, 0.2, 0.3])) == 0.25  # only + + + and - - - reach 0.6
    assert sign_flip_test(np.array([0.3, 0.1, 0.2, -0.6])) == 1.0  # all reach 0
    assert sign_flip_test(np.zeros(5)) == 1.0
    assert sign_flip_test(np.ones(16)) == 2**-15
    assert sign_flip_test(np.ones(40)) == 1 / (2**18 + 1)


def test_random_sign_flips_come_close_to_all_of_them():
    differences = np.random.default_rng(8).normal(0.35, 1, 20)
    flips = 1 - 2 * (np.arange(2**20)[:, None] >> np.arange(20) & 1)
    exact = np.mean(np.abs(flips @ differences) >= abs(differences.sum()) - 1e-9)
    assert 0.01 < exact < 0.5
    assert sign_flip_test(differences, 0) == pytest.approx(exact, abs=4 * math.sqrt(exact / 2**18))
    assert sign_flip_test(differences, 0) == sign_flip_test(differences, 0) != sign_flip_test(differences, 1)


def test_no_p_value_is_below_the_smallest():
    for chunks in (4, 16, 19, 20, 40):
        assert sign_flip_test(np.ones(chunks)) == smallest_p(chunks)


def test_p_values_are_small_as_often_as_they_say():
    rng = np.random.default_rng(9)
    p_values = sign_flip_test(rng.standard_normal((2000, 10)) * rng.gamma(1, 1, (2000, 10)))
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_holm_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, none below the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([[0.6, 0.7], [0.02, 1.0]])).tolist() == [[1.0, 1.0], [0.08, 1.0]]
    assert holm(np.array([0.2])).tolist() == [0.2]


def test_a_set_beside_draws_of_its_control_by_hand():
    own, sizes = np.array([4.0, 6.0, 5.0, 9.0]), np.full(4, 2.0)
    draws = np.repeat([[1.0, 2.0, 1.0, 4.0], [2.0, 4.0, 2.0, 4.0], [5.0, 8.0, 7.0, 8.0]], [4, 5, 1], axis=0)
    found = over_draws(own, draws, sizes)
    each = (own - draws) / 2
    assert found.difference == pytest.approx(each.mean())
    errors = each.mean(0).var(ddof=1) / 4, each.mean(1).var(ddof=1) / 10
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 3 + errors[1] ** 2 / 9)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(sum(errors))
    assert (found.low, found.high) == pytest.approx((each.mean() - reach, each.mean() + reach))
    assert found.p_value == pytest.approx(2 * stats.t.sf(each.mean() / math.sqrt(sum(errors)), freedom))
    assert (found.rank, found.p_rank) == (2, 2 / 11)
    few = over_draws(own, draws[-3:], sizes)
    assert math.isnan(few.low) and math.isnan(few.p_value) and few.p_rank == 0.5
    assert over_draws(own, np.stack([own] * 10), sizes)[:5] == (0, 0, 0, 1, 11)
