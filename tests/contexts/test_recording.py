"""Contexts of neurons, against every activation at once."""

import numpy as np
import pytest
import torch
from architectures import tiny

from lape.contexts.recording import AROUND, BINS, Contexts, bins, hashed, recording
from lape.errors import LapeError
from lape.model.activations import activations_seen
from lape.model.ffn import find_ffn
from lape.statistics.feeding import record_statistics

ROWS, LENGTH = 12, 32


@pytest.fixture(scope="module", params=["llama", "mixtral"])
def recorded(request):
    """A model, some neurons, the text that it reads, their statistics, and every activation, [n, positions]."""
    model = tiny(request.param).eval()
    generator = np.random.default_rng(0)
    chunks = generator.integers(2, 60, (ROWS, LENGTH))
    documents = np.sort(generator.integers(0, 20, ROWS * LENGTH)).reshape(ROWS, LENGTH)
    documents[:, 0] = -1  # BOS
    ffn = find_ffn(model)
    numbers = generator.choice(ffn.sites.neurons, 7, replace=False)
    statistics = record_statistics(model, torch.from_numpy(chunks))
    found = np.full((7, chunks.size), np.nan, np.float32)
    sites, experts, indices = ffn.sites.within_sites(numbers)

    def see(site, expert, activation, rows):
        number = ffn.parts.index(site)
        for row in np.flatnonzero((sites == number) & (experts == expert)):
            values = activation.detach().reshape(-1, activation.shape[-1])[:, indices[row]].float().numpy()
            found[row, slice(None) if rows is None else rows.numpy()] = values

    with activations_seen(ffn.parts, see), torch.no_grad():
        model(torch.from_numpy(chunks))
    return model, numbers, chunks, documents, statistics, found


def contexts(recorded, cuts: list[int]) -> Contexts:
    """The record of the text, cut before some rows."""
    model, numbers, chunks, documents, statistics, _ = recorded
    low, width = bins([statistics], numbers)
    parts = []
    with recording(model, numbers, low, width, np.unique(chunks)) as recorder, torch.no_grad():
        for first, end in zip([0, *cuts], [*cuts, ROWS], strict=True):
            recorder.begin(chunks[first:end], documents[first:end], first * LENGTH)
            model(torch.from_numpy(chunks[first:end]))
            parts.append(recorder.contexts())
    return sum(parts[1:], parts[0])


def test_the_strongest_contexts_are_those_of_all_positions(recorded):
    _, numbers, _, documents, _, values = recorded
    found, document = contexts(recorded, []), documents.ravel()
    for row in range(len(numbers)):
        allowed = [place for place in np.argsort(-values[row], kind="stable") if document[place] >= 0]
        first = {}
        for place in (place for place in allowed if not np.isnan(values[row, place])):
            first.setdefault(document[place], place)
        places = [*first.values()][:5]
        assert found.strongest.place[row].tolist() == places + [-1] * (5 - len(places))
        assert (found.strongest.value[row, : len(places)] == values[row, places]).all()
        assert (found.strongest.document[row, : len(places)] == document[places]).all()
    place = found.strongest.place[0, 0]
    near = place % LENGTH + np.arange(-AROUND, AROUND + 1)
    inside = (near >= 0) & (near < LENGTH)
    assert np.isnan(found.strongest.around[0, 0][~inside]).all()
    expected = values[0, place - place % LENGTH + near[inside]]
    assert np.array_equal(found.strongest.around[0, 0][inside], expected, equal_nan=True)


def test_histogram_firing_and_random_contexts_agree_with_the_statistics(recorded):
    _, numbers, chunks, documents, statistics, values = recorded
    found = contexts(recorded, [])
    assert (found.histogram.sum(1) == (~np.isnan(values)).sum(1)).all()
    assert (found.fired.sum(0) == statistics.count.ravel()[numbers]).all()
    words = np.searchsorted(found.words, chunks.ravel())
    for row in range(len(numbers)):
        fired = np.bincount(words[values[row] > 0], minlength=len(found.words))
        assert (found.fired[:, row] == fired).all()
        ordered = np.sort(fired)[::-1]
        assert found.words_of_half()[row] == (
            np.searchsorted(ordered.cumsum(), fired.sum() / 2) + 1 if fired.sum() else 0
        )
        number = np.clip(np.floor((values[row] - found.low[row]) / found.width[row]) + 1, 0, BINS - 1)
        for bin_ in range(BINS):
            places = np.flatnonzero((number == bin_) & (documents.ravel() >= 0))
            assert found.by_bin.place[row, bin_] == (places[hashed(places).argmin()] if len(places) else -1)
    below = found.below()
    used = np.concatenate([found.strongest.document, below.document], axis=1)
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in used)
    assert (np.diff(below.value.clip(-99), axis=1) <= 0).all()


@pytest.mark.parametrize("cuts", [[5, 6], [1, 2, 11]])
def test_cuts_change_nothing(recorded, cuts):
    whole, parts = contexts(recorded, []), contexts(recorded, cuts)
    assert (whole.histogram == parts.histogram).all() and (whole.fired == parts.fired).all()
    for name in ("strongest", "by_bin"):
        for one, other in zip(getattr(whole, name), getattr(parts, name), strict=True):
            assert np.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)
    with pytest.raises(LapeError, match="neurons, bins or words differ"):
        _ = whole + contexts(recorded, []).__class__(**{**vars(whole), "words": whole.words[:-1]})


def test_a_layer_that_is_not_seen_is_named(recorded):
    model, numbers, chunks, documents, statistics, _ = recorded
    low, width = bins([statistics], numbers)
    with recording(model, numbers, low, width, np.unique(chunks)) as recorder:
        recorder.begin(chunks, documents, 0)
        with pytest.raises(LapeError, match=r"layer \d \(index \d\): its activation was seen at 0 of 384 tokens"):
            recorder.contexts()
