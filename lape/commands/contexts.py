"""Where neurons fire in the text of one language: their strongest contexts, weaker ones, and histograms."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import checked, read_array, read_json, sha256, versions, write_header, writing
from lape.commands.arguments import positive
from lape.errors import LapeError

PARAMETERS = ("budget", "shards", "threads")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--neurons", type=Path, required=True, help="header of the neurons")
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="statistics header of every language")
    parser.add_argument("--tokens", type=Path, required=True, help="train.json of the language's tokens")
    parser.add_argument("--budget", type=positive(int), help="positions to read, from the first (default: all)")
    parser.add_argument("--shards", type=positive(int), default=8, help="parts after which the record is saved")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, required=True, help="LANGUAGE.jsonl; LANGUAGE.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.contexts.kept_contexts import KeptContexts
    from lape.model.loading import check_found_on
    from lape.neurons.table import Neurons
    from lape.statistics.sums import read_statistics

    tokens, neurons = read_json(arguments.tokens, "tokens"), Neurons.load(arguments.neurons)
    chunks_path, documents_path = (checked(arguments.tokens, tokens, suffix) for suffix in (".npy", ".documents.npy"))
    chunks = _first(read_array(chunks_path, mmap=True), arguments.budget)
    check_found_on(read_json(arguments.model, "model"), arguments.neurons, neurons.summary)
    statistics = read_statistics(arguments.statistics, neurons.summary.get("model_revision"))
    for path, found in zip(arguments.statistics, statistics.values(), strict=False):
        if found.sites != neurons.sites:
            raise LapeError(f"{path}: is of another model than {neurons.origin}; pass the statistics of its model")
    if tokens["language"] not in statistics:
        raise LapeError(f"--statistics: none is of {tokens['language']}, the language of {arguments.tokens}; add it")
    inputs = [arguments.model, arguments.neurons, checked(arguments.neurons, neurons.summary, ".tsv")]
    inputs += [arguments.tokens, chunks_path, documents_path, *arguments.statistics]
    inputs += [path.with_suffix(".npz") for path in arguments.statistics]
    kept = KeptContexts(
        arguments.output,
        {
            "parameters": {name: getattr(arguments, name) for name in PARAMETERS},
            "inputs": {str(path): sha256(path) for path in inputs},
            "code": code_hash("lape.contexts.recording", "lape.model.loading", "lape.model.batches"),
            "versions": {package: versions()[package] for package in ("torch", "transformers")},
        },
    )
    contexts, model = _record(arguments, tokens, neurons, statistics, chunks, read_array(documents_path), kept)
    with writing(arguments.output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(_lines(arguments, neurons, statistics[tokens["language"]], contexts, chunks))
    write_header(
        arguments.output.with_suffix(".json"),
        "contexts",
        language=tokens["language"],
        model=model["name"],
        model_revision=model["revision"],
        method=neurons.summary["method"],
        neurons=len(neurons),
        tokens=contexts.tokens,
        dtype=model["dtype"],
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=inputs,
        outputs=[arguments.output],
    )
    kept.remove()
    logger.info("contexts %s %s: %d neurons", model["name"], tokens["language"], len(neurons))


def _first(chunks, budget: int | None):
    """The first chunks, of so many positions in all."""
    if budget is not None and budget < chunks.shape[1]:
        raise LapeError(f"contexts.tokens: {budget} is less than a chunk of {chunks.shape[1]} positions; raise it")
    return chunks[: None if budget is None else budget // chunks.shape[1]]


def _record(arguments: argparse.Namespace, tokens: dict, neurons, statistics: dict, chunks, documents, kept):
    """The contexts of all neurons, and the header of the model."""
    import numpy as np
    import torch

    from lape.contexts.recording import bins, recording
    from lape.contexts.written import token_counts
    from lape.model.batches import filling_batch_size, passes, shard_batches
    from lape.model.decoder import decoder_of
    from lape.model.running import running
    from lape.text.tokens import documents_of

    numbers, bos = neurons.numbers(), tokens["parameters"]["bos"]
    low, width = bins(list(statistics.values()), numbers)
    words = np.flatnonzero(token_counts(chunks, int(chunks.max()) + 1))
    length = chunks.shape[1]
    label = f"contexts {tokens['model']} {tokens['language']}"
    first, contexts = kept.load()
    options = {"batch_size": 1, "threads": arguments.threads, "one_process": True}
    with running(arguments.model, label, chunks.size, **options) as run:
        run.batches.size = size = filling_batch_size(length, run.device, -(-len(chunks) // arguments.shards))
        shards = [shard for shard in shard_batches(len(chunks), size, arguments.shards) if shard]
        run.bar.update(sum(chunks[batch].size for shard in shards[:first] for batch in shard))
        for number, batches in enumerate(shards[first:], first + 1):

            def work(size: int, batches=batches):
                with torch.inference_mode(), recording(run.model, numbers, low, width, words) as recorder:
                    for batch in passes(batches, size):
                        ids = chunks[batch].astype(np.int64)
                        places = np.arange(batch.start * length, batch.stop * length).reshape(ids.shape)
                        recorder.begin(ids, documents_of(places, documents, length, bos), batch.start * length)
                        decoder_of(run.model)(input_ids=torch.from_numpy(ids).to(run.device), use_cache=False)
                        run.bar.update(ids.size)
                    return recorder.contexts()

            found = run.batches(work)
            contexts = found if contexts is None else contexts + found
            kept.keep(number, contexts)
        return contexts, run.description


def _lines(arguments: argparse.Namespace, neurons, statistics, contexts, chunks):
    """One line per neuron."""
    from lape.contexts.inspected import InLanguage
    from lape.contexts.stored import language_row, lines, places_of
    from lape.contexts.text import contexts_of, token_texts
    from lape.model.tokenizer import load_tokenizer

    texts = token_texts(load_tokenizer(arguments.model.with_name("tokenizer.json")), contexts.words.tolist())
    words_of_half, below = contexts.words_of_half(), contexts.below()
    per_token = statistics.per_token[contexts.numbers].tolist()

    def found(row: int) -> InLanguage:
        return InLanguage(
            *per_token[row],
            int(words_of_half[row]),
            contexts.histogram[row],
            *(contexts_of(some, row, chunks, chunks.shape[1], texts) for some in (contexts.strongest, below)),
        )

    return lines(
        language_row(place, found(row), float(contexts.low[row]), float(contexts.width[row]))
        for row, place in enumerate(places_of(neurons.table))
    )
