"""The direction of every language in the hidden states: its mean less the other languages' (DiffMean)."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_array, read_json
from lape.commands.arguments import positive

PARAMETERS = ("budget", "threads")
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="train.json of every language's tokens")
    parser.add_argument("--budget", type=positive(int), help="positions to read per language (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, required=True, help="MODEL.npz; MODEL.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.interventions.directions import Directions
    from lape.model.batches import filling_batch_size, passes, token_batches
    from lape.model.running import running
    from lape.statistics.hidden_means import hidden_means

    description = read_json(arguments.model, "model")
    headers = {path: read_json(path, "tokens") for path in arguments.tokens}
    files = {path: checked(path, header, ".npy") for path, header in headers.items()}
    chunks = {}
    for path, header in headers.items():
        whole = read_array(files[path], mmap=True)
        most = None if arguments.budget is None else max(arguments.budget // whole.shape[1], 1)
        chunks[header["language"]] = whole[:most]
    skip = {header["language"]: int(header["parameters"]["bos"]) for header in headers.values()}
    label, total = f"directions {description['name']}", sum(each.size for each in chunks.values())
    with running(arguments.model, label, total, batch_size=1, threads=arguments.threads) as run:
        means = {}
        for language, own in chunks.items():
            run.batches.size = filling_batch_size(own.shape[1], run.device, len(own))

            def work(size: int, own=own, language=language):
                batches = token_batches(own, passes([slice(0, len(own))], size))
                return hidden_means(run.model, batches, skip[language], run.bar.update)

            means[language] = run.batches(work)
    Directions.of_means(means).save(
        arguments.output,
        model=description["name"],
        model_revision=description["revision"],
        positions={language: int(own.size) for language, own in chunks.items()},
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[arguments.model, *files, *files.values()],
    )
    logger.info("%s: %d languages", label, len(means))
