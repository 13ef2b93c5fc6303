"""Perplexity of every language while neurons, parameters, expert units or a direction are off, or nothing is."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import add_backend
from lape.errors import LapeError

if TYPE_CHECKING:
    from lape.evaluation.held_out import HeldOutText

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="valid.json of every language")
    parser.add_argument(
        "--neurons",
        type=Path,
        help="header of the neurons, parameters, expert units or directions (default: the baseline)",
    )
    parser.add_argument(
        "--deactivate",
        metavar="LANGUAGE",
        help="language whose neurons, parameters or units are off, or whose direction is projected out",
    )
    parser.add_argument(
        "--like",
        type=Path,
        help="header of neurons: deactivate as many of the top expert units as it has neurons of the language",
    )
    parser.add_argument(
        "--means",
        type=Path,
        nargs="+",
        default=[],
        help="statistics headers of every language: set neurons to their mean activation, and not to zero",
    )
    parser.add_argument("--batch-size", type=int, default=4, help="chunks per forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument("--output", type=Path, required=True, help="SET.tsv, by chunk; SET.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.evaluation.deactivation import Deactivation
    from lape.evaluation.held_out import HeldOutText, token_files
    from lape.kernels import ops
    from lape.model.running import running

    description = read_json(arguments.model, "model")
    off = Deactivation.load(arguments.neurons, arguments.deactivate, arguments.like, description, arguments.means)
    texts = list(map(HeldOutText.load, arguments.tokens))
    tokens, deactivated = sum(text.chunks.size for text in texts), arguments.deactivate or "baseline"
    label = f"perplexity {description['name']} {off.method} {deactivated}"
    sizes = {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    with running(arguments.model, label, tokens, **sizes) as run:
        found, record = _likelihoods(run, off, texts, arguments.backend)
    rows = _write_chunks(arguments.output, texts, found)
    hooks = off.proof(record, tokens)
    parameters = off.summary.get("parameters", {})
    write_header(
        arguments.output.with_suffix(".json"),
        "perplexity",
        model=description["name"],
        model_revision=description["revision"],
        method=off.method,
        deactivated=deactivated,
        ratio=None if parameters.get("quota") else parameters.get("ratio"),
        ablation=None if arguments.neurons is None else "mean" if arguments.means else "zero",
        training=off.summary.get("training", {}).get(deactivated),
        languages=[text.language for text in texts],
        rows=rows,
        hooks=hooks,
        batch_size=run.batches.size,
        device=str(run.device),
        backend=ops.active_backend(run.device, arguments.backend),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in ("batch_size", "threads", "backend")},
        inputs=[arguments.model, *(file for path in arguments.tokens for file in token_files(path)), *off.files],
        outputs=[arguments.output],
    )
    own_first = sorted(rows, key=lambda row: row["evaluated"] != deactivated)
    logger.info("%s: %s", label, ", ".join(f"{row['evaluated']} {row['ppl']:.2f}" for row in own_first))


def _likelihoods(run, off, texts: "list[HeldOutText]", backend: str):
    """The NLL of every chunk, text by text, and the record of what the deactivation did."""
    from lape.evaluation.perplexity import chunk_nll

    def work(size: int):
        found = []
        with off.begin(run.model) as record:
            for text in texts:
                try:
                    found.append(chunk_nll(run.model, text.chunks, size, backend, run.bar.update))
                except LapeError as error:
                    raise LapeError(f"text in {text.language}: {error}") from error
        return found, record

    return run.batches(work)


def _write_chunks(output: Path, texts: "list[HeldOutText]", found: list) -> list[dict]:
    """Write the table of all chunks; returns the rows of the header, one per text."""
    import pandas as pd

    from lape.evaluation.perplexity import likelihood_measures

    rows, table = [], []
    for text, nll in zip(texts, found, strict=True):
        table += [{"evaluated": text.language, **row} for row in text.rows(nll)]
        tokens, size = text.predicted * len(nll), int(text.sizes.sum())
        measures = likelihood_measures(float(nll.sum()), tokens, size)
        rows.append({"evaluated": text.language, "tokens": tokens, "bytes": size, **measures})
    with writing(output) as temporary:
        pd.DataFrame(table).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    return rows
