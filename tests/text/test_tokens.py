"""Sampling and packing: disjoint splits, exact numbers, bytes that add up."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_data import LANGUAGES, make_text
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.text import build, stored, tokens
from lape.text.tokens import documents_of, pack, split_rows, token_bytes


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


def corpus(language="fr", documents=20, words=50) -> pa.Table:
    texts = [make_text(language, words, number) for number in range(documents)]
    return pa.table({"id": [f"{language}-{number}" for number in range(documents)], "text": texts})


SETTINGS = dict(
    budget=256, chunk_length=16, bos=0, seed=0, allow_fewer=False, excerpts=False, vocab_size=400, label="fr train"
)  # fmt: skip


@pytest.fixture
def packed(tokenizer, tmp_path):
    """Pack a split of a table of documents; returns its chunks and what else `pack` says of them."""

    def run(table=None, split="train", valid_share=0.2, **settings):
        table = corpus() if table is None else table
        settings = SETTINGS | settings
        rows = split_rows(table["id"].to_pylist(), split, valid_share, settings["seed"])
        texts = (table["text"][int(row)].as_py() for row in rows)
        result = pack(texts, tokenizer, tmp_path / "chunks.npy", documents=len(rows), **settings)
        chunks = np.load(tmp_path / "chunks.npy")
        assert len(chunks) == result.chunks == len(result.predicted_bytes)
        return chunks, result

    return run


@pytest.mark.parametrize("bos", [0, None])
@pytest.mark.parametrize("language", LANGUAGES)
def test_chunks_are_the_documents_in_sampled_order(tokenizer, packed, language, bos):
    table = corpus(language)
    ids, result = packed(table, bos=bos)
    assert ids.dtype == np.int32 and ids.shape == (16, 16)
    texts = table["text"].to_pylist()
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)
    tokens = [tokenizer.encode(texts[row], add_special_tokens=False).ids for row in rows[: len(result.document_tokens)]]
    stream = [token for each in tokens for token in each]
    assert result.document_tokens.tolist() == list(map(len, tokens))
    content = ids if bos is None else ids[:, 1:]
    documents = documents_of(np.arange(ids.size).reshape(ids.shape), result.document_tokens, 16, bos is not None)
    owners = [number for number, each in enumerate(tokens) for _ in each]
    assert documents[:, ids.shape[1] - content.shape[1] :].ravel().tolist() == owners[: content.size]
    assert bos is None or (documents[:, 0] == -1).all()
    assert content.ravel().tolist() == stream[: content.size]
    assert result.tokens_dropped == len(stream) - content.size
    if bos is not None:
        assert (ids[:, 0] == bos).all()


def test_excerpts_are_one_chunk_of_a_document_at_most(tokenizer, packed):
    table = corpus(documents=40)
    texts = table["text"].to_pylist()
    ids, result = packed(table, excerpts=True, budget=160)
    assert ids.shape == (10, 16)
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)[: len(result.document_tokens)]
    starts = []
    for row, chunk, size in zip(rows, ids, result.predicted_bytes, strict=True):  # all texts are longer
        encoding = tokenizer.encode(texts[row], add_special_tokens=False)
        own = chunk[1:].tolist()
        found = [start for start in range(len(encoding.ids) - 14) if encoding.ids[start : start + 15] == own]
        assert found
        starts.append(found[0])
        assert size == sum(token_bytes(texts[row], encoding.offsets)[found[0] : found[0] + 15])
    assert len(set(starts)) > 5 and result.tokens_dropped == 0  # from all over the documents
    again, _ = packed(table, excerpts=True, budget=160)
    assert np.array_equal(again, ids)


def test_no_document_is_in_two_chunks_of_excerpts(tokenizer, packed):
    words = [1, 2, 3, 40, 4] * 6  # some documents are shorter than a chunk
    texts = [make_text("fr", count, number) for number, count in enumerate(words)]
    table = pa.table({"id": [str(number) for number in range(len(texts))], "text": texts})
    _, result = packed(table, excerpts=True, budget=96)
    rows = split_rows(table["id"].to_pylist(), "train", 0.2, 0)[: len(result.document_tokens)]
    left = 15  # tokens that the chunk still wants
    for row in rows:
        left = (left or 15) - min(len(tokenizer.encode(texts[row], add_special_tokens=False).ids), left or 15)
    assert (
        left == 0 and result.tokens_dropped == 0
    )  # the last document ends the last chunk, as every other does its own
    assert len(rows) > 6


def test_bytes_are_those_of_the_predicted_tokens(tokenizer, packed):
    table = corpus("ja", documents=10, words=40)
    ids, result = packed(table, valid_share=0.0001, budget=160)
    text = "".join(table["text"].to_pylist()[row] for row in split_rows(table["id"].to_pylist(), "train", 0.0001, 0))
    decoded = [len(tokenizer.decode(chunk.tolist()[1:]).encode()) for chunk in ids]
    assert result.predicted_bytes.sum() <= len(text.encode())
    # A chunk may begin or end within a character, which decode() shows as a replacement.
    assert np.abs(result.predicted_bytes - decoded).max() <= 8
    _, without = packed(table, valid_share=0.0001, budget=160, bos=None)
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


def test_the_newest_documents_are_the_valid_split():
    ids = [str(number) for number in (7, 12, 100, 3, 99, 1000, 41)]
    train, valid = (split_rows(ids, split, 0.25, 7, newest=99) for split in ("train", "valid"))
    assert {ids[row] for row in valid} == {"99", "100", "1000"}  # as numbers, not as text
    assert sorted([*train, *valid]) == list(range(7))
    order = [*split_rows(ids, "valid", 0.5, 7), *split_rows(ids, "train", 0.5, 7)]
    assert list(train) == [row for row in order if int(ids[row]) < 99]  # both in the order of the hash


@pytest.mark.parametrize(("excerpts", "bos"), [(False, 0), (True, 0), (False, None)])
def test_chunks_do_not_depend_on_how_many_documents_are_tokenised_at_once(packed, monkeypatch, tmp_path, excerpts, bos):
    settings = {"table": corpus(documents=60), "budget": 320, "excerpts": excerpts, "bos": bos}
    expected, of_all = packed(**settings)
    np.save(tmp_path / "saved.npy", expected)
    assert (tmp_path / "chunks.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    monkeypatch.setattr(tokens, "_BATCH", 3)
    ids, result = packed(**settings)
    assert (ids == expected).all() and (result.predicted_bytes == of_all.predicted_bytes).all()
    assert result.tokens_dropped == of_all.tokens_dropped
    assert result.document_tokens.tolist() == of_all.document_tokens.tolist()


def test_texts_come_in_the_order_of_the_draw_however_many_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_GROUP_DOCUMENTS", 7)
    (tmp_path / "fr.jsonl").write_text("".join(json.dumps({"text": f"texte {n} où"}) + "\n" for n in range(50)))
    settings = {"pattern": str(tmp_path / "fr.jsonl"), "text_column": "text", "id_column": None}
    build.build_corpus("fr", "files", settings, tmp_path / "fr.parquet", language_check="off")
    assert pq.ParquetFile(tmp_path / "fr.parquet").num_row_groups == 8
    table = pq.read_table(tmp_path / "fr.parquet")
    whole = stored.StoredCorpus(tmp_path / "fr.parquet")
    monkeypatch.setattr(stored, "_HELD", 200)
    pieces = stored.StoredCorpus(tmp_path / "fr.parquet")
    rows = pieces.rows("train", 0.2, 3)
    assert pieces._documents < len(rows) / 2 < len(rows) < whole._documents and len(rows) == 40
    expected = [table["text"][int(row)].as_py() for row in rows]
    assert list(pieces.texts(rows)) == list(whole.texts(rows)) == expected


def test_a_larger_budget_only_appends(packed):
    (small, _), (large, _) = packed(budget=64), packed(budget=160)
    assert (large[:4] == small).all()


def test_too_few_tokens_are_refused_with_both_numbers(packed):
    with pytest.raises(LapeError, match=r"100000 tokens with BOS are wanted .* 16 documents hold \d+;.*allow_fewer"):
        packed(budget=100_000)
    ids, fewer = packed(budget=100_000, allow_fewer=True)
    assert len(fewer.document_tokens) == 16 and fewer.tokens_dropped < 15 and len(ids) > 16


def test_a_budget_below_one_chunk_is_refused(packed):
    with pytest.raises(LapeError, match="less than one chunk"):
        packed(budget=15)


def test_a_split_without_a_whole_chunk_is_refused_even_with_allow_fewer(packed):
    with pytest.raises(LapeError, match="hold 0;"):
        packed(corpus(documents=1), split="valid", allow_fewer=True)


def test_ids_outside_the_models_embedding_are_refused(packed):
    with pytest.raises(LapeError, match=r"gives id \d+, the model has 50 embeddings"):
        packed(vocab_size=50)
