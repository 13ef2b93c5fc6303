"""One question, one answer: the workflow's own answers, by template or chat, in any block."""

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

import lape
from lape.errors import LapeError
from lape.generation.decoding import greedy_answers
from lape.model.sites import Sites
from lape.model.tokenizer import prompt_ids

QUESTION = "la maison près de cette rivière ?"


@pytest.fixture
def tokenizer(tiny_folder):
    return AutoTokenizer.from_pretrained(tiny_folder)


def greedy(model, tokenizer, prompt: str, begin: bool = True, **settings) -> str:
    """The answer of the pipeline's own decoding."""
    backend = tokenizer.backend_tokenizer
    ids = prompt_ids(backend, prompt, begin)
    return greedy_answers(model, backend, [ids], max_new_tokens=12, **settings)[0].text


def test_a_question_goes_through_the_workflows_template(tiny_model, tokenizer):
    found = lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12)
    expected = greedy(tiny_model, tokenizer, f"Q: {QUESTION}\nA:", stop=["\nQ:", "\nA:"], repetition_penalty=1.1)
    assert found == expected != ""


def test_a_chat_template_is_used_where_there_is_one(tiny_model, tokenizer):
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}!{% endfor %}"
    found = lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12, repetition_penalty=1.0)
    assert found == greedy(tiny_model, tokenizer, f"<s>{QUESTION}!", begin=False)
    plain = lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12, chat=False)
    assert plain == greedy(tiny_model, tokenizer, f"Q: {QUESTION}\nA:", stop=["\nQ:", "\nA:"], repetition_penalty=1.1)


def test_an_answer_is_given_inside_a_block(tiny_model, tokenizer):
    table = pd.DataFrame({"layer": [0, 1, 2] * 8, "index": range(24), "languages": [("fr",)] * 24})
    table = table.sort_values(["layer", "index"], ignore_index=True)
    neurons = lape.Neurons(table, ("fr",), Sites.rectangle(3, 32))
    before = lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12)
    with lape.deactivate(tiny_model, neurons, "fr") as firing:
        assert lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12) != before
    assert firing.calls[0] > 1
    assert lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=12) == before


def test_what_does_not_fit_is_refused(tiny_model, tokenizer):
    with pytest.raises(LapeError, match="more than the context of 64; shorten it or lower max_tokens"):
        lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=64)
    with pytest.raises(LapeError, match="the chat template fails"):
        lape.answer(tiny_model, tokenizer, QUESTION, max_tokens=4, chat=True)
    with pytest.raises(LapeError, match="a NoneType is no fast tokenizer"):
        lape.answer(tiny_model, None, QUESTION)
    assert torch.is_grad_enabled()
