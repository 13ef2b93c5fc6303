"""Checks of text: documents, tokens, instructions, questions, sentences and pairs."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from lape.artifact import read_array, read_json
from lape.audit.inputs import inputs
from lape.corpus.pairs import load_pairs
from lape.corpus.questions import load_questions
from lape.corpus.sentences import load_sentences
from lape.corpus.stored import StoredCorpus


def check_corpus(path: Path, header: dict) -> Iterator[str]:
    identities = pq.read_table(path.with_suffix(".parquet"), columns=["id"])["id"]
    if len(identities) != header["documents"] or len(identities.unique()) != len(identities):
        yield f"holds {len(identities)} documents, the header says {header['documents']}"
    if newest := header.get("newest"):
        # The splits are told apart by the smallest id: none of the others may be as new.
        new = [number for number in map(int, identities.to_pylist()) if number >= newest["smallest_id"]]
        if len(new) != newest["documents"] or min(new, default=None) != newest["smallest_id"]:
            yield f"has {len(new)} documents from id {newest['smallest_id']} on, the header says {newest['documents']}"


def check_tokens(path: Path, header: dict) -> Iterator[str]:
    chunks = read_array(path.with_suffix(".npy"), mmap=True)
    if chunks.size != header["tokens"] or len(chunks) != header["chunks"]:
        yield f"holds {chunks.size} tokens in {len(chunks)} chunks, the header says {header['tokens']}"
    (model,) = inputs(header, "model")
    vocabulary = read_json(model)["vocab_size"]
    if chunks.size and (chunks.min() < 0 or chunks.max() >= vocabulary):
        yield f"holds a token id that is negative or outside the vocabulary of {vocabulary}"
    if int(read_array(path.with_suffix(".bytes.npy")).sum()) != header["predicted_bytes"]:
        yield "predicted_bytes is not the sum over its chunks"
    (corpus,) = inputs(header, "corpus")
    parameters = header["parameters"]
    rows = StoredCorpus(corpus).rows(parameters["split"], parameters["valid_share"], parameters["seed"])
    if len(rows) != header["documents_in_split"]:
        yield f"was sampled from {header['documents_in_split']} documents, the split has {len(rows)} now"


def check_instructions(path: Path, header: dict) -> Iterator[str]:
    with open(path.with_suffix(".jsonl"), encoding="utf-8") as file:
        if (lines := sum(1 for _ in file)) != header["examples"]:
            yield f"has {lines} examples, the header says {header['examples']}"


def check_questions(path: Path, header: dict) -> Iterator[str]:
    numbers = list(load_questions(path))
    if numbers != header["numbers"] or len(numbers) != header["questions"] or numbers != sorted(set(numbers)):
        yield f"has the questions {numbers}, the header says {header['questions']}: {header['numbers']}"


def check_sentences(path: Path, header: dict) -> Iterator[str]:
    sentences = load_sentences(path)
    for split, texts in sentences.items():
        if len(texts) != header[split]:
            yield f"has {len(texts)} sentences {split}, the header says {header[split]}"
    if not set(sentences["scored"]).isdisjoint(sentences["held_out"]):
        yield "holds a sentence that is scored and held out"


def check_pairs(path: Path, header: dict) -> Iterator[str]:
    pairs = load_pairs(path)
    if len(pairs) != header["pairs"] or len({pair["number"] for pair in pairs}) != len(pairs):
        yield f"has {len(pairs)} pairs, the header says {header['pairs']} of different numbers"
