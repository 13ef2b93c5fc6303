"""What users have, counted: strings, a tokenizer's outputs, arrays and lists, bit for bit as the ids by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_data import LANGUAGES, make_text
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

import lape
from lape.errors import LapeError
from lape.text.tokens import pack

TEXTS = [make_text(language, 30, number) for number in range(4) for language in LANGUAGES]


@pytest.fixture
def tokenizer(tiny_folder):
    """A tokenizer of transformers that begins texts with BOS."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


@pytest.fixture
def ids(tokenizer) -> list[int]:
    """The stream of tokens, by hand."""
    return [token for text in TEXTS for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def same(one: lape.ActivationStatistics, other: lape.ActivationStatistics) -> bool:
    """Whether statistics are equal to the last bit."""
    fields = [field.name for field in dataclasses.fields(one)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_strings_count_as_the_chunks_that_the_workflow_packs(tiny_model, tokenizer, ids, tmp_path):
    found = torch.cat(list(lape.batches(tokenizer, iter(TEXTS), tokens=4 * 64, length=64)))
    options = dict(documents=12, budget=4 * 64, chunk_length=64, bos=0, seed=0, allow_fewer=False, excerpts=False)
    pack(TEXTS, tokenizer.backend_tokenizer, tmp_path / "a.npy", **options, vocab_size=400, label="a")
    assert found.tolist() == np.load(tmp_path / "a.npy").tolist()
    counted = lape.record_statistics(tiny_model, TEXTS, tokenizer, tokens=4 * 64)
    assert counted.tokens == 256 and same(counted, lape.record_statistics(tiny_model, found))


@pytest.mark.parametrize("kind", [list, iter, tuple, "column", "library tokenizer"])
def test_any_iterable_of_strings_is_read(tiny_model, tokenizer, ids, kind):
    texts = TEXTS
    if kind == "column":
        from datasets import Dataset

        texts = Dataset.from_dict({"text": TEXTS})["text"]
    elif kind == "library tokenizer":
        tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    else:
        texts = kind(TEXTS)
    counted = lape.record_statistics(tiny_model, texts, tokenizer)
    chunks = [torch.tensor([[0, *ids[start : start + 63]]]) for start in range(0, len(ids), 63)]
    assert len(chunks[-1][0]) < 64 and counted.tokens == sum(chunk.numel() for chunk in chunks)
    assert same(counted, lape.record_statistics(tiny_model, [torch.cat(chunks[:-1]), chunks[-1]]))


def test_text_is_text_and_the_tokenizer_stays_as_it_was(tokenizer):
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=8)
    (batch,) = lape.batches(tokenizer, "a window</s> opens near the house", bos=False)
    assert 1 not in batch and batch.shape[1] > 8
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 3
    assert tokenizer.backend_tokenizer.padding["length"] == 8
    assert not tokenizer.backend_tokenizer.encode_special_tokens


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tensors", ["pt", "np", None])
def test_padding_is_neither_fed_nor_counted(tiny_model, tokenizer, side, tensors):
    tokenizer.pad_token, tokenizer.padding_side = "</s>", side
    texts = [make_text("fr", size, size) for size in (5, 9, 5, 12)]
    encoded = tokenizer(texts, padding=True, return_tensors=tensors)
    alone = [tokenizer(text)["input_ids"] for text in texts]
    expected = lape.record_statistics(tiny_model, alone)
    if tensors == "pt":  # some tokenizers give a mask of bool
        encoded["attention_mask"] = encoded["attention_mask"].bool()
    counted = lape.record_statistics(tiny_model, encoded)
    assert counted.tokens == expected.tokens == sum(map(len, alone))
    # Rows of one length are fed together, so that a last bit of an activation may differ.
    np.testing.assert_array_equal(counted.count, expected.count)
    np.testing.assert_allclose(counted.total, expected.total, rtol=1e-5, atol=1e-4)
    loader = [dict(encoded), dict(encoded)]
    assert lape.record_statistics(tiny_model, loader).tokens == 2 * counted.tokens


@pytest.mark.parametrize(
    "texts",
    [
        np.arange(2, 12, dtype=np.uint16),
        torch.arange(2, 12, dtype=torch.int32),
        list(range(2, 12)),
        [list(range(2, 12))],
        [torch.arange(2, 12)],
        [[list(range(2, 12))]],
        np.arange(2, 12).reshape(1, 1, 10),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_ids_of_any_form_and_integer_type(tiny_model, texts):
    expected = lape.record_statistics(tiny_model, [torch.arange(2, 12)[None]])
    assert same(lape.record_statistics(tiny_model, texts), expected)


def test_a_limit_cuts_the_last_batch(tiny_model):
    ids = torch.arange(2, 42).view(4, 10)
    counted = lape.record_statistics(tiny_model, [ids, ids], tokens=25)
    assert same(counted, lape.record_statistics(tiny_model, [ids[:2], ids[2:3, :5]]))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a house"], "are strings; pass the model's tokenizer after them"),
        ([], "hold no token; pass strings with a tokenizer"),
        (torch.rand(2, 5), r"torch.float32 \[2, 5\]|float32"),
        ([torch.rand(2, 5)], r"torch.float32 \[2, 5\] are no token ids; pass"),
        ([{"text": "a house"}], "a dict has no input_ids, but text; pass its text or its ids"),
        ([None], "a NoneType cannot be counted; pass"),
        (7, "a int cannot be counted; pass"),
        (torch.tensor(7), r"torch.int64 \[\] are no token ids; pass"),
        ([[2, 400]], "have the token id 400, the model has embeddings of 0 to 399; use the tokenizer"),
        ([[-1, 4]], "have the token id -1, the model"),
        ({"input_ids": [[2, 3, 4]], "attention_mask": [[1, 0, 1]]}, "mask has a hole"),
        ({"input_ids": [[2, 3, 4]], "attention_mask": [[1, 1]]}, "differ in shape"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(tiny_model, texts, message):
    with pytest.raises(LapeError, match=message):
        lape.record_statistics(tiny_model, texts)


def test_what_a_tokenizer_cannot_take_is_refused(tiny_model, tokenizer):
    with pytest.raises(LapeError, match="is for strings"):
        lape.record_statistics(tiny_model, [[2, 3]], tokenizer)
    with pytest.raises(LapeError, match="a int is among the strings"):
        lape.record_statistics(tiny_model, ["a", 2], tokenizer)
    with pytest.raises(LapeError, match="a list is no fast tokenizer"):
        lape.batches(TEXTS, tokenizer)
    with pytest.raises(LapeError, match="tokens: 0 leaves no token"):
        lape.record_statistics(tiny_model, TEXTS, tokenizer, tokens=0)
    with pytest.raises(LapeError, match="length: leaves no token"):
        lape.batches(tokenizer, TEXTS, length=1)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A", special_tokens=[])
    with pytest.raises(LapeError, match="puts no token before a text"):
        lape.batches(tokenizer, TEXTS, bos=True)
