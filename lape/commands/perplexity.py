"""Perplexity of every language with one set of neurons deactivated, or with none (the baseline)."""

import argparse
import logging
from pathlib import Path

from lape.artifact import checked, read_array, read_json, write_header, writing
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="valid.json of every language")
    parser.add_argument("--neurons", type=Path, help="header of the neurons; left out: the baseline")
    parser.add_argument("--deactivate", metavar="SET", help="a language, or random (with --neurons)")
    parser.add_argument("--batch-size", type=int, default=4, help="chunks a forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--backend", choices=["extension", "reference"], default="extension")
    parser.add_argument("--output", type=Path, required=True, help="SET.tsv, by chunk; SET.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import contextlib

    import pandas as pd
    import torch

    from lape import ops
    from lape.allocator import keep_freed_memory
    from lape.ffn import input_device
    from lape.model import load_model
    from lape.neurons import Neurons
    from lape.perplexity import chunk_nll, likelihood_measures
    from lape.perturbation import Firing, deactivate
    from lape.progress import progress

    if (arguments.neurons is None) != (arguments.deactivate is None):
        raise LapeError("--neurons and --deactivate go together; leave both out for the baseline")
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    texts = [read_json(path, "tokens") for path in arguments.tokens]
    model, description = load_model(arguments.model)
    device = str(input_device(model))
    method, deactivated, neurons = "none", "baseline", None
    context = contextlib.nullcontext(Firing({}, {}))
    if arguments.neurons:
        neurons = Neurons.load(arguments.neurons)
        method, deactivated = neurons.summary["method"], arguments.deactivate
        context = deactivate(model, neurons, deactivated)

    label = f"perplexity {description['name']} {method} {deactivated}"
    rows, chunks_table = [], []
    with progress(sum(text["tokens"] for text in texts), label) as bar, context as firing:
        for path, text in zip(arguments.tokens, texts, strict=True):
            chunks = read_array(checked(path, text, ".npy"), mmap=True)
            text_bytes = read_array(checked(path, text, ".bytes.npy"))
            try:
                nll = chunk_nll(model, chunks, arguments.batch_size, arguments.backend, bar.update)
            except LapeError as error:
                raise LapeError(f"{label} on {text['language']}: {error}") from error
            predicted = chunks.shape[1] - 1
            chunks_table += [
                {"evaluated": text["language"], "chunk": chunk, "tokens": predicted, "nll": value, "bytes": size}
                for chunk, (value, size) in enumerate(zip(nll, text_bytes, strict=True))
            ]
            tokens, size = predicted * len(chunks), int(text_bytes.sum())
            measures = likelihood_measures(float(nll.sum()), tokens, size)
            rows.append({"evaluated": text["language"], "tokens": tokens, "bytes": size, **measures})
    if neurons is not None:
        firing.check(sum(text["tokens"] for text in texts))

    with writing(arguments.output) as temporary:
        pd.DataFrame(chunks_table).to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    calls, rows_seen, changed = firing.calls, firing.rows, firing.changed
    inputs = [arguments.model, *arguments.tokens]
    inputs += [path.with_suffix(suffix) for path in arguments.tokens for suffix in (".npy", ".bytes.npy")]
    if arguments.neurons:
        inputs += [arguments.neurons, arguments.neurons.with_suffix(".tsv")]
    write_header(
        arguments.output.with_suffix(".json"),
        "perplexity",
        model=description["name"],
        model_revision=description["revision"],
        method=method,
        deactivated=deactivated,
        languages=[text["language"] for text in texts],
        rows=rows,
        hooks={
            "layers": len(firing.neurons),
            "neurons": sum(firing.neurons.values()),
            "by_layer": [
                {
                    "layer": layer,
                    "neurons": firing.neurons[layer],
                    "calls": calls[layer],
                    "tokens": rows_seen[layer],
                    "changed": changed[layer],
                }
                for layer in firing.neurons
            ],
        },
        device=device,
        backend=ops.active_backend(device, arguments.backend),
        dtype=description["dtype"],
        parameters={name: getattr(arguments, name) for name in ("batch_size", "threads", "backend")},
        inputs=inputs,
        outputs=[arguments.output],
    )
    logger.info("%s: %s", label, ", ".join(f"{row['evaluated']} {row['ppl']:.2f}" for row in rows))
