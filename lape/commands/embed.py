"""Embeddings of one language's questions, or of any aligned sentences, behind every layer of a model."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import positive
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--sentences", type=Path, required=True, help="header of the language's questions")
    parser.add_argument("--pooling", choices=["mean", "last"], default="mean", help="over a sentence's tokens")
    parser.add_argument("--batch-size", type=positive(int), default=16, help="sentences per forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, required=True, help="LANGUAGE.npy; LANGUAGE.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from lape.model.embeddings import sentence_embeddings
    from lape.model.running import running
    from lape.model.tokenizer import load_tokenizer
    from lape.text.questions import load_questions

    language, questions = read_json(arguments.sentences, "questions")["language"], load_questions(arguments.sentences)
    description, tokenizer_path = read_json(arguments.model, "model"), arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path, arguments.threads)
    encodings = tokenizer.encode_batch(list(questions.values()), add_special_tokens=False)
    sentences = [encoding.ids for encoding in encodings]
    label, bos = f"embeddings {description['name']} {language}", description["bos_token_id"]
    _check_context(label, max(map(len, sentences)) + (bos is not None), description["context_length"])
    tokens, sizes = sum(map(len, sentences)), {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    with running(arguments.model, label, tokens, **sizes) as run:
        settings = {"bos": bos, "pooling": arguments.pooling, "on_batch": run.bar.update}
        embeddings = run.batches(lambda size: sentence_embeddings(run.model, sentences, batch_size=size, **settings))

    with writing(arguments.output) as temporary:
        np.save(temporary, embeddings)
    write_header(
        arguments.output.with_suffix(".json"),
        "embeddings",
        language=language,
        model=description["name"],
        model_revision=description["revision"],
        pooling=arguments.pooling,
        bos=bos,
        layers=embeddings.shape[0],
        sentences=embeddings.shape[1],
        width=embeddings.shape[2],
        numbers=list(questions),
        tokens=tokens,
        batch_size=run.batches.size,
        device=str(run.device),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in ("pooling", "batch_size", "threads")},
        inputs=[arguments.model, tokenizer_path, arguments.sentences, arguments.sentences.with_suffix(".jsonl")],
        outputs=[arguments.output],
    )
    logger.info("%s: %d sentences in %d layers", label, embeddings.shape[1], embeddings.shape[0])


def _check_context(label: str, longest: int, context: int | None) -> None:
    if context and longest > context:
        raise LapeError(
            f"{label}: a sentence of {longest} tokens exceeds the model's context of {context}; leave it out of all "
            "languages"
        )
