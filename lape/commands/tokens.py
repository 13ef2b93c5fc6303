"""Sample one language's documents and pack them into chunks of tokens, for training or for evaluation."""

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path

from lape.artifacts.files import read_json, write_header, writing
from lape.errors import LapeError

PARAMETERS = ("split", "budget", "chunk_length", "bos", "seed", "valid_share", "allow_fewer", "excerpts")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, required=True, help="the language's documents, as parquet")
    parser.add_argument("--model", type=Path, required=True, help="model.json, whose tokenizer is used")
    parser.add_argument("--split", choices=["train", "valid"], required=True, help="to count on, or to evaluate on")
    parser.add_argument("--budget", type=int, required=True, help="positions wanted, rounded down to whole chunks")
    parser.add_argument("--chunk-length", type=int, required=True, help="positions in a chunk, BOS included")
    parser.add_argument(
        "--bos",
        action=argparse.BooleanOptionalAction,
        help="start every chunk with BOS (default: as the tokenizer does)",
    )
    parser.add_argument("--seed", type=int, default=0, help="which documents are sampled, in which order")
    parser.add_argument("--valid-share", type=float, default=0.2, help="share of documents kept for evaluation")
    parser.add_argument("--allow-fewer", action="store_true", help="where the text is too short, use all of it")
    parser.add_argument("--excerpts", action="store_true", help="take the tokens of one chunk from each document")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the tokenizer")
    parser.add_argument(
        "--output", type=Path, required=True, help="SPLIT.npy; .bytes.npy, .documents.npy, .json beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    from lape.model.tokenizer import chosen_bos, load_tokenizer
    from lape.text.stored import StoredCorpus

    model = read_json(arguments.model, "model")
    corpus = StoredCorpus(arguments.corpus)
    language = corpus.header["language"]
    label = f"{model['name']} {language} {arguments.split}"
    _check(arguments, label, model)
    bos = chosen_bos(model, arguments.bos, label, "tokens.bos")
    arguments.bos = bos is not None
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path, arguments.threads)
    rows = corpus.rows(arguments.split, arguments.valid_share, arguments.seed)
    packed = _pack(arguments, label, model, bos, corpus.texts(rows), len(rows), tokenizer)
    files = _write_beside(arguments.output, packed)
    tokens = packed.chunks * arguments.chunk_length
    write_header(
        arguments.output.with_suffix(".json"),
        "tokens",
        language=language,
        split=arguments.split,
        model=model["name"],
        model_revision=model["revision"],
        tokens=tokens,
        chunks=packed.chunks,
        documents=len(packed.document_tokens),
        documents_in_split=len(rows),
        tokens_dropped=packed.tokens_dropped,
        predicted_bytes=int(packed.predicted_bytes.sum()),
        bos=bos,
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[corpus.path, corpus.header_path, arguments.model, tokenizer_path],
        outputs=[arguments.output, *files],
    )
    logger.info(
        "tokens %s: %d in %d chunks from %d documents", label, tokens, packed.chunks, len(packed.document_tokens)
    )
    if tokens < arguments.budget // arguments.chunk_length * arguments.chunk_length:
        logger.warning("tokens %s: %d were wanted, %d is all there is", label, arguments.budget, tokens)


def _check(arguments: argparse.Namespace, label: str, model: dict) -> None:
    """Refuse chunks that the model cannot read, or in which it predicts nothing."""
    context = model["context_length"]
    if context and arguments.chunk_length > context:
        raise LapeError(
            f"{label}: chunk_length {arguments.chunk_length} exceeds the model's context of {context}; lower it"
        )
    if arguments.chunk_length < 2:
        raise LapeError(f"{label}: chunk_length {arguments.chunk_length} predicts no token; set it to 2 or more")


def _pack(
    arguments: argparse.Namespace,
    label: str,
    model: dict,
    bos: int | None,
    texts: Iterable,
    documents: int,
    tokenizer,
):
    """Write the chunks; returns what is known of them."""
    from lape.text.tokens import pack

    with writing(arguments.output) as temporary:
        return pack(
            texts,
            tokenizer,
            temporary,
            documents=documents,
            bos=bos,
            vocab_size=model["vocab_size"],
            label=label,
            **{
                name: getattr(arguments, name) for name in ("budget", "chunk_length", "seed", "allow_fewer", "excerpts")
            },
        )


def _write_beside(output: Path, packed) -> list[Path]:
    """Write what is known of each chunk and of each document; returns the files."""
    import numpy as np

    arrays = {".bytes.npy": packed.predicted_bytes, ".documents.npy": packed.document_tokens}
    for suffix, array in arrays.items():
        with writing(output.with_suffix(suffix)) as temporary:
            np.save(temporary, array)
    return [output.with_suffix(suffix) for suffix in arrays]
