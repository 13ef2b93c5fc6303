"""Count how often every neuron fires over one language's tokens, in shards that survive an interruption."""

import argparse
import json
import logging
from pathlib import Path

from lape import ranks
from lape.artifact import checked, read_array, read_json, sha256, versions, write_header
from lape.errors import LapeError
from lape.parts import code_hash, finished, mark_finished, remove_others

logger = logging.getLogger(__name__)
# What counts: the modules of the forward pass and the compiled extension.
CODE = ("statistics", "recording", "fused", "ffn", "probe", "batches", "ops", "reference", "model", "ranks")
CODE += ("_C",)


def batch_size(text: str) -> int | None:
    """Chunks of a forward pass; None for "auto"."""
    return None if text == "auto" else int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, required=True, help="train.json of the language's tokens")
    parser.add_argument("--batch-size", type=batch_size, help="chunks a forward pass, or auto (the default)")
    parser.add_argument("--memory", type=float, help="GiB for the activations of a pass (with auto); default: half")
    parser.add_argument("--skip-first", type=int, default=0, help="positions of each chunk that are not counted")
    parser.add_argument("--thresholds", type=json.loads, default=[], help="also count activations above: '[0.5, 1]'")
    parser.add_argument("--shards", type=int, default=8, help="parts that are saved one by one")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--backend", choices=["extension", "reference"], default="extension")
    parser.add_argument(
        "--output", type=Path, required=True, help="LANGUAGE.npz; LANGUAGE.json and LANGUAGE.shards/ beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    import torch

    from lape import ops
    from lape.allocator import keep_freed_memory
    from lape.batches import fitting_batch_size, shard_batches, token_batches
    from lape.ffn import input_device
    from lape.model import load_model
    from lape.progress import progress
    from lape.recording import counting

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    tokens = read_json(arguments.tokens, "tokens")
    tokens_path = checked(arguments.tokens, tokens, ".npy")
    chunks = read_array(tokens_path, mmap=True)
    if arguments.skip_first >= chunks.shape[1]:
        raise LapeError(f"statistics.skip_first: {arguments.skip_first} of {chunks.shape[1]} positions; lower it")
    parameters = {
        name: getattr(arguments, name) for name in ("skip_first", "thresholds", "shards", "threads", "backend")
    }
    model, description = load_model(arguments.model)
    device = input_device(model)
    label = f"{description['name']} {tokens['language']}"
    folder = arguments.output.with_suffix(".shards")
    # A shard of an earlier run is kept only if everything that shapes its numbers is the same.
    identity = {
        **parameters,
        "model": sha256(arguments.model),
        "tokens": sha256(tokens_path),
        "code": code_hash(CODE),
        "device": str(device),
        "versions": {package: versions()[package] for package in ("torch", "transformers")},
        "wanted": {"batch_size": arguments.batch_size or "auto", "memory": arguments.memory},
    }
    if arguments.batch_size is None:
        # Free memory changes between runs: go on with the size that was found at first.
        size = ranks.gathered(_earlier_batch_size(folder, identity))[0]
        # No shard shall be without a pass: `lape stability` compares them.
        share = -(-len(chunks) // arguments.shards)
        identity["batch_size"] = size or fitting_batch_size(model, chunks.shape[1], arguments.memory, at_most=share)
    else:
        identity["batch_size"] = arguments.batch_size
    whole, files, shards = None, [], []
    settings = {name: getattr(arguments, name) for name in ("thresholds", "skip_first")}
    with progress(chunks.size, f"statistics {label}") as bar, counting(model, arguments.backend, **settings) as count:
        for number, slices in enumerate(shard_batches(len(chunks), identity["batch_size"], arguments.shards)):
            file = folder / f"{number}.npz"
            shard = _finished(file, identity)
            if shard is None:
                batches = token_batches(chunks, slices, pin=device.type == "cuda")
                try:
                    shard = count(batches, bar.update)
                except LapeError as error:
                    raise LapeError(f"{label}: {error}") from error
                shard.save(file)
                mark_finished(file, identity)
            else:
                bar.update(sum(chunks[part].size for part in slices))
            whole = shard if whole is None else whole + shard
            files += [file, file.with_suffix(".json")]
            shards.append({"file": f"{folder.name}/{file.name}", "tokens": shard.tokens})
    remove_others(folder, files)

    whole.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "statistics",
        language=tokens["language"],
        model=description["name"],
        model_revision=description["revision"],
        checkpoint=description["path"] if description["source"] == "hub" else None,
        layers=description["layers"],
        neurons_per_layer=description["neurons_per_layer"],
        experts=description["experts"],
        tokens=whole.tokens,
        shards=shards,
        device=str(device),
        backend=ops.active_backend(device, arguments.backend),
        dtype=description["dtype"],
        parameters={"batch_size": identity["batch_size"], **parameters},
        inputs=[arguments.model, arguments.tokens, tokens_path],
        outputs=[arguments.output, *files],
    )
    logger.info(
        "statistics %s: %d tokens in %d shards on %s, %d chunks a pass",
        *(label, whole.tokens, len(shards), device, identity["batch_size"]),
    )


def _earlier_batch_size(folder: Path, identity: dict) -> int | None:
    """The size of batches of an interrupted run under the same identity; None where there was none."""
    try:
        first = read_json(folder / "0.json")
    except LapeError:
        return None
    return first.get("batch_size") if first.items() >= identity.items() else None


def _finished(file: Path, identity: dict):
    """The statistics of a shard that an earlier run finished under the same identity, else None."""
    from lape.statistics import ActivationStatistics

    try:
        return None if finished(file, identity) is None else ActivationStatistics.load(file)
    except LapeError:
        return None  # not whole: it is counted again
