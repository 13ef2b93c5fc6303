"""Checks of text: documents, tokens, instructions, questions, sentences and pairs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lape.artifacts.files import read_array, read_json, sha256
from lape.audit.inputs import inputs, tokenizer_of
from lape.text.build import documents
from lape.text.pairs import load_pairs
from lape.text.questions import load_questions
from lape.text.reading import Reading
from lape.text.sentences import load_sentences
from lape.text.shortcuts import baselines
from lape.text.stored import StoredCorpus
from lape.text.tasks import SOURCES, balanced, load_task
from lape.text.tokens import pack

_SAMPLE = 8  # number of the first documents of a corpus, and of the first chunks of tokens, that are made again


def check_corpus(path: Path, header: dict) -> Iterator[str]:
    corpus = pq.read_table(path.with_suffix(".parquet"))
    identities, texts = corpus["id"], corpus["text"]
    if len(identities) != header["documents"] or len(identities.unique()) != len(identities):
        yield f"holds {len(identities)} documents, the header says {header['documents']}"
        return
    if newest := header.get("newest"):
        # Ids from the smallest one on make the valid split, so that only the newest pages may have them.
        new = [number for number in map(int, identities.to_pylist()) if number >= newest["smallest_id"]]
        if len(new) != newest["documents"] or min(new, default=None) != newest["smallest_id"]:
            yield f"has {len(new)} documents from id {newest['smallest_id']} on, the header says {newest['documents']}"
    characters = pc.sum(pc.utf8_length(texts)).as_py()
    if characters != header["characters"]:
        yield f"holds {characters} characters, the header says {header['characters']}"
    as_read = all(Path(name).is_file() and sha256(name) == digest for name, digest in header["inputs"].items())
    if header["source"] == "files" and as_read:
        yield from _check_documents(
            header, dict(zip(*(column[:_SAMPLE].to_pylist() for column in (identities, texts)), strict=True))
        )


def _check_documents(header: dict, first: dict[str, str]) -> Iterator[str]:
    """Check that the first documents (id -> text) have the same text in the source; dropped ones may lie between."""
    for identity, text in documents(header["language"], "files", header["parameters"]["settings"]):
        if first.get(identity, text) != text:
            break
        first.pop(identity, None)
        if not first:
            return
    yield f"its document {next(iter(first))} is not that of its files"


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
    of_documents, begins = read_array(path.with_suffix(".documents.npy")), header["parameters"]["bos"]
    if len(of_documents) != header["documents"] or of_documents.sum() != (
        chunks.size - len(chunks) * begins + header["tokens_dropped"]
    ):
        yield "the tokens of its documents do not add up to those of its chunks and the dropped ones"
    (source,) = inputs(header, "corpus")
    parameters, corpus = header["parameters"], StoredCorpus(source)
    rows = corpus.rows(parameters["split"], parameters["valid_share"], parameters["seed"])
    if len(rows) != header["documents_in_split"]:
        yield f"was sampled from {header['documents_in_split']} documents, the split has {len(rows)} now"
        return
    yield from _check_packing(path, header, chunks, corpus, rows)


def _check_packing(
    path: Path, header: dict, chunks: np.ndarray, corpus: StoredCorpus, rows: np.ndarray
) -> Iterator[str]:
    """Check that packing the corpus again gives the first chunks."""
    (model,) = inputs(header, "model")
    description, parameters = read_json(model), header["parameters"]
    length = parameters["chunk_length"]
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        pack(
            corpus.texts(rows),
            tokenizer_of(header),
            file.name,
            documents=len(rows),
            budget=min(len(chunks), _SAMPLE) * length,
            chunk_length=length,
            bos=header.get("bos", description["bos_token_id"]) if parameters["bos"] else None,
            seed=parameters["seed"],
            allow_fewer=True,
            excerpts=parameters["excerpts"],
            vocab_size=description["vocab_size"],
            label=str(path),
        )
        again = read_array(file.name)
    if not np.array_equal(again, chunks[: len(again)]):
        yield f"packing {corpus.path} again gives other tokens"


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


def check_task(path: Path, header: dict) -> Iterator[str]:
    questions, parameters = load_task(path), header["parameters"]
    if len(questions) != header["questions"]:
        yield f"has {len(questions)} questions, the header says {header['questions']}"
    if header["baselines"] != baselines(questions):
        yield "its baselines do not follow from its questions"
    # The harness's own tasks have no file on this machine, and are not fetched again.
    if header["inputs"] and all(
        Path(name).is_file() and sha256(name) == digest for name, digest in header["inputs"].items()
    ):
        found = list(SOURCES[header["source"]](header["language"], Reading(), **parameters["settings"]))
        if questions != balanced(found, parameters["number"], str(path)):
            yield "reading its source again gives other questions"
