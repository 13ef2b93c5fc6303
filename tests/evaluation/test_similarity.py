"""SES and dominance: equal to the formulas sentence by sentence; intervals that cover; what leaves them unchanged."""

import math

import numpy as np
import pytest
from aligned_embeddings import aligned
from scipy import stats

from lape.errors import LapeError
from lape.evaluation.similarity import dominance, jackknife_interval, ses, similarities

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ("no", "nan", "fr")


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def by_hand(own: np.ndarray, target: np.ndarray, shifted: bool) -> tuple[float, float]:
    """Mean cosine of aligned sentences [N, d], and of all others, in plain Python."""
    own, target = own.tolist(), target.tolist()
    if shifted:
        means = [[math.fsum(column) / len(rows) for column in zip(*rows, strict=True)] for rows in (own, target)]
        own = [[h - v_k + v_c for h, v_k, v_c in zip(row, *means, strict=True)] for row in own]
    same = [cosine(a, b) for a, b in zip(own, target, strict=True)]
    other = [cosine(a, b) for n, a in enumerate(own) for m, b in enumerate(target) if n != m]
    return math.fsum(same) / len(same), math.fsum(other) / len(other)


@pytest.mark.parametrize("shifted", [False, True])
def test_cosines_are_those_of_the_formulas_also_with_a_sentence_left_out(shifted):
    states = np.stack([array[0] for array in aligned(0).values()]).astype(float)
    same, other = similarities(states, shifted)
    assert same.shape == other.shape == (3, 3, 7)
    for target in range(3):
        for own in range(3):
            if own == target:
                continue
            for place, left_out in enumerate([None, *range(6)]):
                kept = [number for number in range(6) if number != left_out]
                expected = by_hand(states[own][kept], states[target][kept], shifted)
                found = same[target, own, place], other[target, own, place]
                assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("measure", "names", "shifted"), [(ses, ("language", "other"), False), (dominance, ("target", "language"), True)]
)
def test_rows_are_every_pair_and_its_means(measure, names, shifted):
    embeddings = aligned(1)
    frame = measure(embeddings)
    value = measure.__name__
    bounds = [f"{value}_low", f"{value}_high", "misaligned", "corrected", "corrected_low", "corrected_high"]
    assert list(frame.columns) == ["layer", *names, value, *bounds]
    pairs = [(a, b) for a in LANGUAGES for b in LANGUAGES if a != b]
    means = [(target, "") for target in LANGUAGES] if shifted else [("", "")]
    assert len(frame) == 3 * (len(means) + len(pairs))
    assert frame["layer"].is_monotonic_increasing and frame["layer"].iat[0] == 0
    for layer, block in frame.groupby("layer"):
        found = {tuple(row[:2]): row[2:] for row in block[[*names, value, "misaligned", "corrected"]].to_numpy()}
        assert list(found) == [*means, *pairs]
        expected = {
            (a, b): by_hand(embeddings[b][layer].astype(float), embeddings[a][layer].astype(float), shifted)
            for a, b in pairs
        }
        for name in means:
            chosen = [values for pair, values in expected.items() if name[0] in ("", pair[0])]
            expected[name] = tuple(np.mean(chosen, axis=0))
        for name, (same, other) in expected.items():
            assert found[name].tolist() == pytest.approx([same, other, (same - other) / (1 - other)], rel=1e-10)


def test_the_interval_is_the_jackknife_of_the_logarithm():
    values = np.array([[0.9, 0.91, 0.88, 0.92, 0.89, 0.87], [0.2, 0.1, -0.2, 0.4, 0.3, 0.15]])
    low, high = jackknife_interval(values)
    for row, *bounds in zip(values.tolist(), low, high, strict=True):
        whole, *left_out = [math.log(1 - value) for value in row]
        pseudo = [5 * whole - 4 * value for value in left_out]
        centre = math.fsum(pseudo) / 5
        error = math.sqrt(math.fsum((value - centre) ** 2 for value in pseudo) / (5 * 4))
        reach = stats.t.ppf(0.975, 4) * error
        assert bounds == pytest.approx([1 - math.exp(centre + reach), 1 - math.exp(centre - reach)], rel=1e-12)
    assert np.isnan(jackknife_interval(values[:, :4])).all()  # of three sentences


def test_intervals_cover_what_many_sentences_would_give():
    """300 samples of 20 sentences; the truth from 3,000. Without its bias corrected, dominance lies too high."""
    rng = np.random.default_rng(2)
    means = 2 + rng.normal(size=(2, 1, 24))

    def sample(number: int) -> np.ndarray:
        return means + 0.5 * rng.normal(size=(number, 24)) + 0.5 * rng.normal(size=(2, number, 24))

    many = [sample(3000) for _ in range(3)]
    truth = {}
    for shifted in (False, True):
        found = [by_matrix(states, shifted) for states in many]
        truth[shifted] = np.mean([[same, (same - other) / (1 - other)] for same, other in found], axis=0)
    covered, above = [], []
    for _ in range(300):
        states, hits = sample(20), []
        for shifted, expected in truth.items():
            same, other = similarities(states, shifted)
            for values, true in zip((same[1, 0], ((same - other) / (1 - other))[1, 0]), expected, strict=True):
                low, high = jackknife_interval(values)
                hits.append(low <= true <= high)
        covered.append(hits)
        above.append(same[1, 0, 0] > truth[True][0])
    # SES and its correction, dominance and its correction.
    assert (np.mean(covered, axis=0) >= [0.91, 0.90, 0.91, 0.90]).all(), np.mean(covered, axis=0)
    assert np.mean(covered) <= 0.99
    assert np.mean(above) > 0.65


def by_matrix(states: np.ndarray, shifted: bool) -> tuple[float, float]:
    """As `by_hand`, of many sentences."""
    own, target = states
    if shifted:
        own = own - own.mean(axis=0) + target.mean(axis=0)
    own, target = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, target))
    cosines = own @ target.T
    same = np.trace(cosines)
    return same / len(own), (cosines.sum() - same) / (len(own) * (len(own) - 1))


def test_a_shared_direction_raises_ses_and_not_what_is_corrected():
    rng = np.random.default_rng(3)
    strong = {language: rng.normal(size=(1, 200, 30)) + 10 for language in LANGUAGES}
    mean = ses(strong).iloc[0]
    assert mean["ses"] > 0.98 and mean["misaligned"] > 0.98
    assert mean["corrected_low"] < 0 < mean["corrected_high"] and mean["corrected_high"] < 0.1
    shifted = dominance(strong).iloc[0]
    assert shifted["dominance"] > 0.98 and abs(shifted["corrected"]) < 0.1


def test_languages_that_differ_by_a_vector_alone_are_one_after_the_shift():
    rng = np.random.default_rng(4)
    meaning = rng.normal(size=(2, 8, 12))
    embeddings = {language: meaning + rng.normal(size=(2, 1, 12)) for language in LANGUAGES}
    frame = dominance(embeddings)
    np.testing.assert_allclose(frame[["dominance", "corrected"]], 1)
    assert (ses(embeddings)["ses"] < 0.9).all()


def test_the_order_of_languages_and_of_sentences_changes_no_number():
    embeddings = aligned(5)
    order = np.random.default_rng(0).permutation(6)
    others = {language: embeddings[language][:, order] for language in reversed(LANGUAGES)}
    for measure, keys in ((ses, ["language", "other"]), (dominance, ["target", "language"])):
        frames = [measure(each).set_index(["layer", *keys]).sort_index() for each in (embeddings, others)]
        assert frames[0].index.equals(frames[1].index)
        np.testing.assert_allclose(*frames, rtol=1e-9)


def test_two_sentences_have_values_and_no_interval():
    frame = ses(aligned(6, sentences=2))
    assert frame[["ses", "misaligned", "corrected"]].notna().all(axis=None)
    assert frame[["ses_low", "ses_high", "corrected_low", "corrected_high"]].isna().all(axis=None)


@pytest.mark.parametrize("measure", [ses, dominance])
def test_refuses_what_cannot_be_compared(measure):
    with pytest.raises(LapeError, match=r"embeddings of fr: shape \(3, 5, 10\), not \(3, 6, 10\) as of no; embed"):
        measure(aligned(7) | {"fr": np.ones((3, 5, 10), np.float32)})
    for embeddings in (aligned(7, languages=["no"]), aligned(7, sentences=1), {}):
        with pytest.raises(LapeError, match="give two or more of each"):
            measure(embeddings)
