"""Perplexity of every language with neurons, parameters or expert units deactivated, or nothing (the baseline)."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_array, read_json, write_header, writing
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="valid.json of every language")
    parser.add_argument(
        "--neurons", type=Path, help="header of the neurons, parameters or expert units; left out: the baseline"
    )
    parser.add_argument("--deactivate", metavar="LANGUAGE", help="whose neurons, parameters or units (with --neurons)")
    parser.add_argument(
        "--like", type=Path, help="of expert units, take as many of the top as this header's language has neurons"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="chunks a forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--backend", choices=["extension", "reference"], default="extension")
    parser.add_argument("--output", type=Path, required=True, help="SET.tsv, by chunk; SET.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import contextlib

    import pandas as pd
    import torch

    from lape.evaluation.perplexity import chunk_nll, likelihood_measures
    from lape.kernels import ops
    from lape.machine.allocator import keep_freed_memory
    from lape.machine.memory import Halving
    from lape.machine.progress import progress
    from lape.model.ffn import input_device
    from lape.model.loading import load_model

    if (arguments.neurons is None) != (arguments.deactivate is None):
        raise LapeError("--neurons and --deactivate go together; leave both out for the baseline")
    of_units = arguments.neurons is not None and read_json(arguments.neurons).get("artifact") == "expert_units"
    if of_units != (arguments.like is not None):
        fault = "are expert units without --like" if of_units else "are no expert units"
        remedy = "name the neurons as many of which are taken" if of_units else "leave --like out"
        raise LapeError(f"{arguments.neurons}: {fault}; {remedy}")
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    texts = [read_json(path, "tokens") for path in arguments.tokens]
    model, description = load_model(arguments.model)
    device = str(input_device(model))
    region, deactivation, deactivated = {"method": "none"}, contextlib.nullcontext, arguments.deactivate or "baseline"
    if arguments.neurons:
        region, deactivation = _region(model, description, arguments.neurons, deactivated, arguments.like)
    method, parameters = region["method"], region.get("parameters", {})

    label = f"perplexity {description['name']} {method} {deactivated}"
    headers = list(zip(arguments.tokens, texts, strict=True))
    chunks = [read_array(checked(*header, ".npy"), mmap=True) for header in headers]
    sizes = [read_array(checked(*header, ".bytes.npy")) for header in headers]
    with progress(sum(text["tokens"] for text in texts), label) as bar:

        def evaluate(size: int):
            found = []
            with deactivation() as record:
                for text, own in zip(texts, chunks, strict=True):
                    try:
                        found.append(chunk_nll(model, own, size, arguments.backend, bar.update))
                    except LapeError as error:
                        raise LapeError(f"{label} on {text['language']}: {error}") from error
            return found, record

        halving = Halving(arguments.batch_size, label, bar)
        found, record = halving(evaluate)
    rows, chunks_table = [], []
    for text, own, text_bytes, nll in zip(texts, chunks, sizes, found, strict=True):
        predicted = own.shape[1] - 1
        chunks_table += [
            {"evaluated": text["language"], "chunk": chunk, "tokens": predicted, "nll": value, "bytes": size}
            for chunk, (value, size) in enumerate(zip(nll, text_bytes, strict=True))
        ]
        tokens, size = predicted * len(own), int(text_bytes.sum())
        measures = likelihood_measures(float(nll.sum()), tokens, size)
        rows.append({"evaluated": text["language"], "tokens": tokens, "bytes": size, **measures})
    hooks = {}
    if arguments.neurons:
        hooks = _proof(region, record, sum(text["tokens"] for text in texts))

    with writing(arguments.output) as temporary:
        pd.DataFrame(chunks_table).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    inputs = [arguments.model, *arguments.tokens]
    inputs += [path.with_suffix(suffix) for path in arguments.tokens for suffix in (".npy", ".bytes.npy")]
    if arguments.neurons:
        inputs += [arguments.neurons, *(arguments.neurons.with_name(name) for name in region.get("outputs", ()))]
    if arguments.like:
        inputs += [arguments.like, arguments.like.with_suffix(".tsv")]
    write_header(
        arguments.output.with_suffix(".json"),
        "perplexity",
        model=description["name"],
        model_revision=description["revision"],
        method=method,
        deactivated=deactivated,
        ratio=None if parameters.get("quota") else parameters.get("ratio"),
        languages=[text["language"] for text in texts],
        rows=rows,
        hooks=hooks,
        batch_size=halving.size,
        device=device,
        backend=ops.active_backend(device, arguments.backend),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in ("batch_size", "threads", "backend")},
        inputs=inputs,
        outputs=[arguments.output],
    )
    logger.info("%s: %s", label, ", ".join(f"{row['evaluated']} {row['ppl']:.2f}" for row in rows))


def _region(model, description: dict, header_path: Path, language: str, like: Path | None):
    """Header of the neurons, parameters or units, and what makes the context that deactivates a language's."""
    from functools import partial

    from lape.model.loading import check_found_on

    if like is not None:
        from lape.expert_units.selection import ExpertUnits
        from lape.interventions.overwriting import overwritten
        from lape.neurons.set_names import known_sets
        from lape.neurons.table import Neurons

        units, neurons = ExpertUnits.load(header_path), Neurons.load(like)
        for path, header in ((header_path, units.summary), (like, neurons.summary)):
            check_found_on(description, path, header)
        known_sets(language, neurons.sets, neurons.origin)
        off = units.perturbation(language, "top", neurons.counts()[language], value=0.0)
        return {**units.summary, "method": "expert_units"}, partial(overwritten, model, off)

    if read_json(header_path).get("artifact") == "parameters":
        from lape.interventions.zeroing import zeroed as deactivate
        from lape.parameter_variation.parameters import Parameters as Region
    else:
        from lape.interventions.perturbation import deactivate
        from lape.neurons.table import Neurons as Region

    region = Region.load(header_path)
    header = region.summary
    check_found_on(description, header_path, header)
    return header, partial(deactivate, model, region, language)


def _proof(region: dict, record, tokens: int) -> dict:
    """What a deactivation did, for the header.

    Raises:
        LapeError: it did not see all tokens, or changed nothing, which a control may.
    """
    if region["artifact"] == "parameters":  # `zeroed` has checked them
        return {"matrices": len(record.matrices), "parameters": record.parameters, "nonzero": record.nonzero}
    record.check(tokens, must_change=not region["method"].startswith(("random", "matched_")))
    calls, rows, changed = record.calls, record.rows, record.changed
    return {
        "layers": len(record.neurons),
        "neurons": sum(record.neurons.values()),
        "by_layer": [
            {
                **_place(layer),
                "neurons": neurons,
                "calls": calls[layer],
                "tokens": rows[layer],
                "changed": changed[layer],
            }
            for layer, neurons in record.neurons.items()
        ],
    }


def _place(layer: int | tuple[int, str]) -> dict:
    """A layer, or one of its linear layers, as the header has it."""
    return {"layer": layer} if isinstance(layer, int) else {"layer": layer[0], "linear_layer": layer[1]}
