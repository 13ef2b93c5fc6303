"""Contexts and written words as artifacts: equal to a look at one neuron, and resumed without a trace."""

import json
from pathlib import Path

import numpy as np
import pytest
from stages import arguments
from transformers import AutoModelForCausalLM, AutoTokenizer

import lape as library
from lape.audit.contexts import check_contexts, check_vocabulary_effects
from lape.contexts import kept_contexts
from lape.contexts.stored import read
from lape.contexts.text import pieces
from lape.contexts.written import frequent
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics


@pytest.fixture
def stored(stages):
    return read([Path("contexts/fr.json")], Path("vocabulary_effects/lape.json"))


def test_the_artifacts_say_what_a_look_at_one_neuron_says(stored, stages):
    model, tokenizer = AutoModelForCausalLM.from_pretrained("model"), AutoTokenizer.from_pretrained("model")
    neurons, statistics = Neurons.load("neurons/lape.json"), ActivationStatistics.load("statistics/fr.npz")
    assert len(stored) == len(neurons) and stored.languages == ("fr",)
    chunks, sizes = np.load("tokens/fr/train.npy"), np.load("tokens/fr/train.documents.npy")
    starts, stream_texts = np.cumsum([0, *sizes]), pieces(tokenizer, chunks[:, 1:].ravel().tolist())
    for number in range(0, len(stored), 7):
        found, place = stored[number], stored.places[number]
        once = library.inspect(model, tokenizer, place["layer"], place["index"], ["a"])
        assert (found.name, found.raised, found.lowered) == (once.name, once.raised, once.lowered)
        french = found.languages["fr"]
        count = statistics.count.flat[neurons.numbers()[number]]
        assert french.share == count / statistics.tokens and french.histogram.sum() == 256
        assert len(french.strongest) > 2
        for context in french.strongest + french.below:
            start, end = starts[context.document : context.document + 2]
            assert texts(context.tokens) in texts(stream_texts[max(start - 12, 0) : end + 12])
            assert context.tokens[context.centre] in stream_texts[start:end]


def texts(tokens) -> str:
    """Tokens as text, without BOS."""
    return "".join(token for token in tokens if token != "<s>")


def test_an_interrupted_record_goes_on(stages, lape, monkeypatch):
    first, keep = Path("contexts/fr.jsonl").read_bytes(), kept_contexts.KeptContexts.keep

    def killed(self, shards, contexts):
        keep(self, shards, contexts)
        if shards == 2:
            raise KeyboardInterrupt

    line = arguments("contexts", output="again/fr.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(kept_contexts.KeptContexts, "keep", killed)
        assert lape(*line)[0] != 0
    assert Path("again/fr.partial.npz").is_file() and not Path("again/fr.json").exists()
    kept = []
    monkeypatch.setattr(kept_contexts.KeptContexts, "keep", lambda self, *given: kept.append(given[0]))
    assert lape(*line)[0] == 0
    assert kept[0] == 3 and Path("again/fr.jsonl").read_bytes() == first
    assert not Path("again/fr.partial.npz").exists()


def test_words_are_frequent_where_their_share_is_above_the_mean():
    counts = np.array([[5000, 4999, 1, 0], [5000, 0, 2, 4998]])
    assert frequent(counts).tolist() == [[False, True, False, False], [False, False, True, True]]


def test_the_audit_names_what_was_changed(stages):
    path, words = Path("contexts/fr.json"), Path("vocabulary_effects/lape.json")
    header = json.loads(path.read_text())
    assert [*check_contexts(path, header), *check_vocabulary_effects(words, json.loads(words.read_text()))] == []
    lines = path.with_suffix(".jsonl").read_text().splitlines(keepends=True)
    row = json.loads(lines[0])
    row["share"] += 0.1
    row["strongest"].reverse()
    path.with_suffix(".jsonl").write_text("".join([json.dumps(row) + "\n", *lines[1:]]))
    path.write_text(json.dumps(header | {"outputs": {}}))
    share, order, *_ = check_contexts(path, header)
    assert "another share or mean" in share and "out of order" in order


def test_a_budget_below_a_chunk_and_statistics_of_no_use_are_refused(stages, lape):
    status, message = lape(*arguments("contexts", budget="8", output="out/fr.jsonl"))
    assert status == 1 and "contexts.tokens: 8 is less than a chunk of 16 positions; raise it" in message
    status, message = lape(*arguments("contexts", tokens="tokens/ja/train.json", output="out/ja.jsonl"))
    assert status == 0
    line = [word for word in arguments("contexts", output="out/fr.jsonl") if word != "statistics/fr.json"]
    status, message = lape(*line)
    assert status == 1 and "--statistics: none is of fr" in message
