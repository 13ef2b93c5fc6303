"""The mean output of every unit of a model on every sentence, in blocks that survive an interruption."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import read_json, sha256, versions, write_header, writing
from lape.commands.arguments import positive
from lape.errors import LapeError

PARAMETERS = ("bos", "max_length", "batch_size", "storage", "threads")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument(
        "--sentences", type=Path, nargs="+", required=True, help="headers of every language's sentences"
    )
    parser.add_argument(
        "--bos",
        action=argparse.BooleanOptionalAction,
        help="start every sentence with BOS (default: as the tokenizer does)",
    )
    parser.add_argument(
        "--max-length", type=int, default=256, help="tokens of a sentence, BOS included; longer sentences are cut"
    )
    parser.add_argument(
        "--batch-size", type=positive(int), default=32, help="sentences per forward pass, at most 64 (a block)"
    )
    parser.add_argument(
        "--storage", choices=["float32", "float16"], default="float32", help="type of a stored response"
    )
    parser.add_argument("--threads", type=positive(int), default=1, help="CPU threads of torch")
    parser.add_argument(
        "--output", type=Path, required=True, help="responses.json; responses.tsv and responses.blocks/ beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    from lape.expert_units.blocks import BLOCK, column_table
    from lape.model.linear import linear_layers, neuron_part
    from lape.model.running import running
    from lape.model.tokenizer import chosen_bos
    from lape.text.sentences import common_pool

    description = read_json(arguments.model, "model")
    label = f"responses {description['name']}"
    pool, left_out = common_pool(arguments.sentences)
    texts = {language: path.with_suffix(".jsonl") for language, path in zip(pool, arguments.sentences, strict=True)}
    bos = chosen_bos(description, arguments.bos, label, "expert_units.bos")
    arguments.bos = bos is not None
    sentences = _sentences(arguments, label, description, pool, texts)
    tokens = _tokens(sentences, arguments.bos)
    sizes = {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    with running(arguments.model, label, tokens, **sizes) as run:
        layers = linear_layers(run.model)
        units = layers[-1].first + layers[-1].width
        blocks = _kept(arguments, run, label, sentences, units)
        _respond(arguments, run, blocks, layers, bos, texts)
    table_path = arguments.output.with_suffix(".tsv")
    with writing(table_path) as temporary:
        column_table(sentences, arguments.bos).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
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
        tokens=tokens,
        batch_size=blocks.batch_size,
        device=str(run.device),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[arguments.model, _tokenizer(arguments), *arguments.sentences, *texts.values()],
        outputs=[table_path, *blocks.files],
    )
    logger.info("%s: %d units, %d sentences of %s", label, units, len(sentences), ", ".join(pool))


def _tokenizer(arguments: argparse.Namespace) -> Path:
    return arguments.model.with_name("tokenizer.json")


def _tokens(sentences: list, bos: bool) -> int:
    """Tokens of some sentences, BOS included."""
    return sum(len(ids) + bos for _, _, ids in sentences)


def _sentences(arguments: argparse.Namespace, label: str, description: dict, pool, texts: dict[str, Path]) -> list:
    """The sentences as tokens, in the order of the columns, once the model can read each of them."""
    from lape.expert_units.blocks import in_columns
    from lape.model.tokenizer import load_tokenizer

    kept = arguments.max_length - arguments.bos
    if kept < 1:
        raise LapeError(f"{label}: max_length {arguments.max_length} leaves no token; set it to 2 or more")
    sentences = in_columns(pool, load_tokenizer(_tokenizer(arguments), arguments.threads), kept)
    longest, context = len(sentences[0][2]) + arguments.bos, description["context_length"]
    if context and longest > context:
        raise LapeError(
            f"{label}: max_length {arguments.max_length} exceeds the model's context of {context}; lower "
            "expert_units.max_length"
        )
    language, row, ids = sentences[-1]
    if not ids:
        raise LapeError(f"{label}: {texts[language]}:{row + 1} has no token; leave it out of the language's text")
    return sentences


def _kept(arguments: argparse.Namespace, run, label: str, sentences: list, units: int):
    """The blocks, with those that an earlier run left, once the disk has room for the others."""
    import numpy as np

    from lape.expert_units.blocks import BLOCK
    from lape.expert_units.kept_blocks import KeptBlocks
    from lape.model.architectures import ffn_entry

    identity = {
        **{name: getattr(arguments, name) for name in PARAMETERS},
        "model": sha256(arguments.model),
        "code": code_hash("lape.commands.responses"),
        "ffn": ffn_entry(run.description["model_type"]),
        "device": str(run.device),
        "versions": {package: versions()[package] for package in ("torch", "transformers", "tokenizers")},
    }
    blocks = KeptBlocks(arguments.output.with_suffix(".blocks"), sentences, identity)
    wanted = blocks.missing * units * np.dtype(arguments.storage).itemsize
    logger.info(
        "%s: %d units x %d sentences; %.2f GB still to be written, %.2f GB of memory for a block",
        *(label, units, len(sentences), wanted / 1e9, 4 * units * BLOCK / 1e9),
    )
    blocks.make_room(wanted)
    return blocks


def _respond(arguments: argparse.Namespace, run, blocks, layers, bos: int | None, texts: dict[str, Path]) -> None:
    """Make the blocks that are not finished yet."""
    import numpy as np

    from lape.expert_units.responses import responses

    for file, block in blocks.columns.items():
        if file in blocks.done:
            run.bar.update(_tokens(block, arguments.bos))
            continue

        def work(size: int, block=block):
            names = [f"{texts[language]}:{row + 1}" for language, row, _ in block]
            settings = {"bos": bos, "names": names, "on_batch": run.bar.update}
            found = responses(run.model, [ids for _, _, ids in block], layers, batch_size=size, **settings)
            largest = max(found.max(), -found.min())
            if largest > np.finfo(arguments.storage).max:
                raise LapeError(
                    f"a response of {largest:.0f} is beyond {arguments.storage}; set expert_units.storage to float32"
                )
            return found

        found = run.batches(work)
        blocks.keep(file, found.astype(arguments.storage, copy=False), run.batches.size)
