"""Sampling and packing: disjoint splits, exact numbers, bytes that add up."""

import numpy as np
import pyarrow as pa
import pytest
from conftest import LANGUAGES, make_text
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.tokens import pack, split_rows, token_bytes


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


def corpus(language="fr", documents=20, words=50) -> pa.Table:
    texts = [make_text(language, words, number) for number in range(documents)]
    return pa.table({"id": [f"{language}-{number}" for number in range(documents)], "text": texts})


SETTINGS = dict(
    split="train", budget=256, chunk_length=16, bos=0, seed=0, valid_share=0.2, allow_fewer=False, excerpts=False,
    vocab_size=400, label="fr train",
)  # fmt: skip


def packed(tokenizer, table=None, **settings):
    return pack(corpus() if table is None else table, tokenizer, **SETTINGS | settings)


@pytest.mark.parametrize("bos", [0, None])
@pytest.mark.parametrize("language", LANGUAGES)
def test_chunks_are_the_documents_in_sampled_order(tokenizer, language, bos):
    table = corpus(language)
    result = packed(tokenizer, table, bos=bos)
    assert result.ids.dtype == np.int32 and result.ids.shape == (16, 16)
    texts = table["text"].to_pylist()
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)
    stream = [
        token
        for row in rows[: result.documents]
        for token in tokenizer.encode(texts[row], add_special_tokens=False).ids
    ]
    content = result.ids if bos is None else result.ids[:, 1:]
    assert content.ravel().tolist() == stream[: content.size]
    assert result.tokens_dropped == len(stream) - content.size
    assert result.documents_in_split == 16
    if bos is not None:
        assert (result.ids[:, 0] == bos).all()


def test_excerpts_are_one_chunk_of_a_document_at_most(tokenizer):
    table = corpus(documents=40)
    texts = table["text"].to_pylist()
    result = packed(tokenizer, table, excerpts=True, budget=160)
    assert result.ids.shape == (10, 16)
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)[: result.documents]
    starts = []
    for row, chunk, size in zip(rows, result.ids, result.predicted_bytes, strict=True):  # all texts are longer
        encoding = tokenizer.encode(texts[row], add_special_tokens=False)
        own = chunk[1:].tolist()
        found = [start for start in range(len(encoding.ids) - 14) if encoding.ids[start : start + 15] == own]
        assert found
        starts.append(found[0])
        assert size == sum(token_bytes(texts[row], encoding.offsets)[found[0] : found[0] + 15])
    assert len(set(starts)) > 5 and result.tokens_dropped == 0  # from all over the documents
    again = packed(tokenizer, table, excerpts=True, budget=160)
    assert np.array_equal(again.ids, result.ids)


def test_no_document_is_in_two_chunks_of_excerpts(tokenizer):
    words = [1, 2, 3, 40, 4] * 6  # some documents are shorter than a chunk
    texts = [make_text("fr", count, number) for number, count in enumerate(words)]
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": texts})
    result = packed(tokenizer, table, excerpts=True, budget=96)
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)[: result.documents]
    left = 15  # tokens that the chunk still wants
    for row in rows:
        left = (left or 15) - min(len(tokenizer.encode(texts[row], add_special_tokens=False).ids), left or 15)
    assert (
        left == 0 and result.tokens_dropped == 0
    )  # the last document ends the last chunk, as every other does its own
    assert len(rows) > 6


def test_bytes_are_those_of_the_predicted_tokens(tokenizer):
    table = corpus("ja", documents=10, words=40)
    result = packed(tokenizer, table, valid_share=0.0001, budget=160)
    text = "".join(table["text"].to_pylist()[row] for row in split_rows(table["id"].to_pylist(), "train", 0.0001, 0))
    decoded = [len(tokenizer.decode(chunk.tolist()[1:]).encode()) for chunk in result.ids]
    assert result.predicted_bytes.sum() <= len(text.encode())
    # A chunk may begin or end within a character, which decode() shows as a replacement.
    assert np.abs(result.predicted_bytes - decoded).max() <= 8
    without = packed(tokenizer, table, valid_share=0.0001, budget=160, bos=None)
    assert (without.predicted_bytes < result.predicted_bytes.max() * 2).all() and len(without.predicted_bytes) == 10


@pytest.mark.parametrize("text", ["", "plain", "où 日本語 🙂 é", "  spaces  around \n"])
def test_token_bytes_add_up_to_the_text(tokenizer, text):
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    sizes = token_bytes(text, offsets)
    assert len(sizes) == len(offsets) and sizes.sum() == len(text.encode()) and (sizes >= 0).all()


def test_token_bytes_of_byte_tokens_and_gaps():
    # One character in three byte tokens, then a space that no token covers, then a word.
    assert token_bytes("語 ab", [(0, 1), (0, 1), (0, 1), (2, 4)]).tolist() == [3, 0, 0, 3]
    assert token_bytes("ab  ", [(0, 0), (0, 2)]).tolist() == [0, 4]


def test_splits_share_no_document_and_do_not_depend_on_order_or_budget():
    ids = [f"d{number}" for number in range(101)]
    train, valid = (split_rows(ids, split, 0.25, 7) for split in ("train", "valid"))
    assert sorted([*train, *valid]) == list(range(101)) and len(valid) == 25
    reverse = split_rows(ids[::-1], "valid", 0.25, 7)
    assert [ids[::-1][row] for row in reverse] == [ids[row] for row in valid]
    assert list(split_rows(ids, "valid", 0.25, 8)) != list(valid)


def test_a_larger_budget_only_appends(tokenizer):
    small, large = packed(tokenizer, budget=64), packed(tokenizer, budget=160)
    assert (large.ids[:4] == small.ids).all()


def test_too_few_tokens_are_refused_with_both_numbers(tokenizer):
    with pytest.raises(LapeError, match=r"93750 tokens of text are wanted .* 16 documents hold \d+;.*allow_fewer"):
        packed(tokenizer, budget=100_000)
    fewer = packed(tokenizer, budget=100_000, allow_fewer=True)
    assert fewer.documents == 16 and fewer.tokens_dropped < 15 and len(fewer.ids) > 16


def test_a_budget_below_one_chunk_is_refused(tokenizer):
    with pytest.raises(LapeError, match="less than one chunk"):
        packed(tokenizer, budget=15)


def test_a_split_without_a_whole_chunk_is_refused_even_with_allow_fewer(tokenizer):
    with pytest.raises(LapeError, match="hold 0;"):
        packed(tokenizer, corpus(documents=1), split="valid", allow_fewer=True)


def test_ids_outside_the_models_embedding_are_refused(tokenizer):
    with pytest.raises(LapeError, match=r"gives id \d+, the model has 50 embeddings"):
        packed(tokenizer, vocab_size=50)
