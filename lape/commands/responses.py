"""The mean output of every unit of a model on every sentence, in blocks that survive an interruption."""

import argparse
import hashlib
import json
import logging
import os
import shutil
from functools import partial
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import sha256, versions, write_header, writing
from lape.artifacts.kept_parts import finished, mark_finished, remove_others
from lape.commands.arguments import positive
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument(
        "--sentences", type=Path, nargs="+", required=True, help="headers of every language's sentences"
    )
    parser.add_argument("--bos", action=argparse.BooleanOptionalAction, default=True, help="start every one with BOS")
    parser.add_argument("--max-length", type=int, default=256, help="tokens at which a sentence is cut, BOS included")
    parser.add_argument(
        "--batch-size", type=positive(int), default=32, help="sentences a forward pass; a block of 64 at most"
    )
    parser.add_argument("--storage", choices=["float32", "float16"], default="float32", help="of a response")
    parser.add_argument("--threads", type=positive(int), default=1, help="CPU threads of torch")
    parser.add_argument(
        "--output", type=Path, required=True, help="responses.json; responses.tsv and responses.blocks/ beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)  # read when the tokenizer starts its threads
    import numpy as np
    import torch

    from lape.expert_units.blocks import BLOCK, column_table, in_columns
    from lape.expert_units.responses import responses
    from lape.machine.allocator import keep_freed_memory
    from lape.machine.memory import Halving
    from lape.machine.progress import progress
    from lape.model.architectures import ffn_entry
    from lape.model.ffn import input_device
    from lape.model.linear import linear_layers, neuron_part
    from lape.model.loading import load_model
    from lape.model.tokenizer import load_tokenizer
    from lape.text.sentences import common_pool

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    pool, left_out = common_pool(arguments.sentences)
    texts = {language: path.with_suffix(".jsonl") for language, path in zip(pool, arguments.sentences, strict=True)}
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path)
    model, description = load_model(arguments.model)
    label, bos = f"responses {description['name']}", description["bos_token_id"] if arguments.bos else None
    if arguments.bos and bos is None:
        raise LapeError(f"{label}: the tokenizer has no BOS token; set expert_units.bos to false")
    kept = arguments.max_length - arguments.bos
    if kept < 1:
        raise LapeError(f"{label}: max_length {arguments.max_length} leaves no token; set it to 2 or more")
    sentences = in_columns(pool, tokenizer, kept)
    longest, context = len(sentences[0][2]) + arguments.bos, description["context_length"]
    if context and longest > context:
        raise LapeError(
            f"{label}: max_length {arguments.max_length} exceeds the model's context of {context}; lower "
            "expert_units.max_length"
        )
    language, row, ids = sentences[-1]
    if not ids:
        raise LapeError(f"{label}: {texts[language]}:{row + 1} has no token; leave it out of the language's text")
    layers = linear_layers(model)
    units = layers[-1].first + layers[-1].width
    parameters = {name: getattr(arguments, name) for name in ("bos", "max_length", "batch_size", "storage", "threads")}
    # A block of an earlier run is kept only if everything that shapes its numbers is the same.
    shared = {
        **parameters,
        "model": sha256(arguments.model),
        "code": code_hash("lape.commands.responses"),
        "ffn": ffn_entry(description["model_type"]),
        "device": str(input_device(model)),
        "versions": {package: versions()[package] for package in ("torch", "transformers", "tokenizers")},
    }
    folder = arguments.output.with_suffix(".blocks")
    blocks = {
        folder / f"{block}.npy": sentences[first : first + BLOCK]
        for block, first in enumerate(range(0, len(sentences), BLOCK))
    }
    # Sentences of one length stand in the order of the languages: the same texts may be other columns.
    identities = {
        file: {**shared, "columns": hashlib.sha256(json.dumps(block).encode()).hexdigest()}
        for file, block in blocks.items()
    }
    done = {file for file, identity in identities.items() if finished(file, identity) is not None}
    wanted = sum(len(block) for file, block in blocks.items() if file not in done) * units
    wanted *= np.dtype(arguments.storage).itemsize
    logger.info(
        "%s: %d units x %d sentences; %.2f GB still to be written, %.2f GB of memory for a block",
        *(label, units, len(sentences), wanted / 1e9, 4 * units * BLOCK / 1e9),
    )
    _make_room(folder, done, wanted)
    with progress(sum(len(ids) + arguments.bos for _, _, ids in sentences), label) as bar:
        halving = Halving(arguments.batch_size, label, bar)
        for file, block in blocks.items():
            if file in done:
                bar.update(sum(len(ids) + arguments.bos for _, _, ids in block))
                continue
            names = [f"{texts[language]}:{row + 1}" for language, row, _ in block]
            settings = {"bos": bos, "names": names, "on_batch": bar.update}
            work = partial(responses, model, [ids for _, _, ids in block], layers, **settings)
            try:
                found = halving(lambda size, work=work: work(batch_size=size))
            except LapeError as error:
                raise LapeError(f"{label}: {error}") from error
            largest = max(found.max(), -found.min())
            if largest > np.finfo(arguments.storage).max:
                raise LapeError(
                    f"{label}: a response of {largest:.0f} is beyond {arguments.storage}; set expert_units.storage to "
                    "float32"
                )
            with writing(file) as temporary:
                np.save(temporary, found.astype(arguments.storage, copy=False))
            mark_finished(file, identities[file], {"batch_size": halving.size})

    smallest = min(finished(file, identity)["batch_size"] for file, identity in identities.items())
    table_path = arguments.output.with_suffix(".tsv")
    table = column_table(sentences, arguments.bos)
    with writing(table_path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    write_header(
        arguments.output,
        "responses",
        model=description["name"],
        model_revision=description["revision"],
        languages=list(pool),
        sentences=len(sentences),
        left_out=left_out,
        units=units,
        block=BLOCK,
        storage=arguments.storage,
        bos=bos,
        neuron_part=neuron_part(layers),
        linear_layers=[layer.description() for layer in layers],
        tokens=int(table["tokens"].sum()),
        batch_size=smallest,
        device=shared["device"],
        dtype=description["dtype"],
        parameters=parameters,
        inputs=[arguments.model, tokenizer_path, *arguments.sentences, *texts.values()],
        outputs=[table_path, *blocks, *(file.with_suffix(".json") for file in blocks)],
    )
    logger.info("%s: %d units, %d sentences of %s", label, units, len(sentences), ", ".join(pool))


def _make_room(folder: Path, done: set[Path], wanted: int) -> None:
    """Remove blocks that no longer hold, and refuse to start where the disk has less room than is wanted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_others(folder, [*done, *(file.with_suffix(".json") for file in done)])
    except OSError as error:
        raise LapeError(f"{folder}: cannot be written ({error.strerror}); make its folder writable") from error
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise LapeError(
            f"{folder}: no space left: {wanted / 1e9:.2f} GB are wanted, {free / 1e9:.2f} GB are free; free some disk, "
            "or set expert_units.storage to float16"
        )
