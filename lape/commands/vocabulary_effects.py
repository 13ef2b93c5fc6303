"""Which words neurons write: those whose logits they raise and lower most, and whether these are a language's own."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_array, read_json, write_header, writing
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--neurons", type=Path, required=True, help="header of the neurons")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="train.json of every language's tokens")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.jsonl; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from lape.contexts.stored import lines, places_of
    from lape.contexts.written import frequent, token_counts, written
    from lape.model.loading import check_found_on
    from lape.model.running import running
    from lape.model.tokenizer import load_tokenizer
    from lape.neurons.table import Neurons

    neurons, description = Neurons.load(arguments.neurons), read_json(arguments.model, "model")
    check_found_on(description, arguments.neurons, neurons.summary)
    headers = {path: read_json(path, "tokens") for path in arguments.tokens}
    files = {path: checked(path, header, ".npy") for path, header in headers.items()}
    languages = [header["language"] for header in headers.values()]
    if missing := sorted(set(neurons.sets) - set(languages)):
        raise LapeError(f"--tokens: none is of {', '.join(missing)}, a language of {arguments.neurons}; add it")
    vocabulary = description["vocab_size"]
    counts = np.stack([token_counts(read_array(path, mmap=True), vocabulary) for path in files.values()])
    words = dict(zip(languages, frequent(counts), strict=True))
    tokenizer = load_tokenizer(arguments.model.with_name("tokenizer.json"))
    label = f"vocabulary_effects {description['name']} {neurons.summary['method']}"
    options = {"batch_size": 1, "threads": arguments.threads, "one_process": True}
    with running(arguments.model, label, len(neurons), "neuron", **options) as run:
        rows = []
        for place, row in zip(
            places_of(neurons.table), written(run.model, tokenizer, neurons.numbers(), words), strict=True
        ):
            rows.append({**place, **row})
            run.bar.update()
    with writing(arguments.output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(lines(rows))
    write_header(
        arguments.output.with_suffix(".json"),
        "vocabulary_effects",
        model=description["name"],
        model_revision=description["revision"],
        method=neurons.summary["method"],
        languages=languages,
        neurons=len(neurons),
        vocab_size=vocabulary,
        frequent_words={language: int(of.sum()) for language, of in words.items()},
        dtype=description["dtype"],
        parameters={"threads": arguments.threads},
        inputs=[
            *(arguments.model, arguments.model.with_name("tokenizer.json"), arguments.neurons),
            checked(arguments.neurons, neurons.summary, ".tsv"),
            *files,
            *files.values(),
        ],
        outputs=[arguments.output],
    )
    logger.info("%s: %d neurons", label, len(neurons))
