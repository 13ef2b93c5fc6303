"""Count how often every neuron fires over one language's tokens, in shards that survive an interruption.

Several jobs may share the shards (--job 0 --jobs 4, ...). A last call adds up what the jobs counted (--counted ...).
"""

import argparse
import json
import logging
from pathlib import Path

from lape.artifacts.code import code_hash
from lape.artifacts.files import checked, read_array, read_json, sha256, versions, write_header
from lape.artifacts.kept_parts import finished, mark_finished, remove_others
from lape.commands.arguments import add_backend, positive
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def batch_size(text: str) -> int | None:
    """Chunks of a forward pass; None for "auto"."""
    return None if text == "auto" else int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--tokens", type=Path, required=True, help="train.json of the language's tokens")
    parser.add_argument("--batch-size", type=batch_size, help="chunks per forward pass (default: auto)")
    parser.add_argument(
        "--memory", type=float, help="GiB for the activations of a pass (with auto) (default: half of what is free)"
    )
    parser.add_argument("--skip-first", type=int, default=0, help="positions of each chunk that are not counted")
    parser.add_argument("--thresholds", type=json.loads, default=[], help="also count activations above: '[0.5, 1]'")
    parser.add_argument("--shards", type=int, default=8, help="parts that are saved one by one")
    parser.add_argument("--jobs", type=positive(int), default=1, help="how many jobs share the shards")
    parser.add_argument("--job", type=int, help="number of this job, from 0; only its shards are counted")
    parser.add_argument(
        "--counted", type=Path, nargs="+", default=[], help="headers that all jobs wrote, to be added up"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="LANGUAGE.npz; LANGUAGE.json and LANGUAGE.shards/ beside it. A job writes LANGUAGE.JOB.json and shards",
    )


def run(arguments: argparse.Namespace) -> None:
    tokens = read_json(arguments.tokens, "tokens")
    tokens_path = checked(arguments.tokens, tokens, ".npy")
    if arguments.job is not None and not 0 <= arguments.job < arguments.jobs:
        raise LapeError(f"--job {arguments.job}: there are {arguments.jobs}, numbered from 0; give one of these")
    if arguments.counted:
        counted = _joined(arguments.counted)
    else:
        counted = _count(arguments, tokens, read_array(tokens_path, mmap=True), sha256(tokens_path))
    description = read_json(arguments.model, "model")
    inputs = [arguments.model, arguments.tokens, tokens_path]
    if arguments.job is None:
        _write(arguments.output, description, tokens, counted, inputs)
    else:
        files = [file for shard in counted["shards"] for file in _files(arguments.output, shard["shard"])]
        header = arguments.output.with_suffix(f".{arguments.job}.json")
        write_header(header, "count", **counted, parameters=counted["identity"], inputs=inputs, outputs=files)


def _count(arguments: argparse.Namespace, tokens: dict, chunks, tokens_hash: str) -> dict:
    """Count the shards that are not finished yet, of all shards or of the job's."""
    from lape.kernels import ops
    from lape.model.batches import filling_batch_size, passes, shard_batches, token_batches
    from lape.model.running import running
    from lape.statistics.recording import counting

    if arguments.skip_first >= chunks.shape[1]:
        raise LapeError(f"statistics.skip_first: {arguments.skip_first} of {chunks.shape[1]} positions; lower it")
    label = f"statistics {read_json(arguments.model, 'model')['name']} {tokens['language']}"
    settings = {name: getattr(arguments, name) for name in ("thresholds", "skip_first")}
    sizes = {"batch_size": arguments.batch_size or 1, "threads": arguments.threads}
    with running(arguments.model, label, chunks.size, **sizes) as run:
        # No shard shall be without a batch: `lape stability` compares shards.
        share = -(-len(chunks) // arguments.shards)
        nominal = arguments.batch_size or filling_batch_size(chunks.shape[1], run.device, share)
        identity = _identity(arguments, run, tokens_hash, nominal)
        # Shards are cut along batches that no machine's memory decides: jobs on several machines agree on them.
        shards = _own(list(enumerate(shard_batches(len(chunks), nominal, arguments.shards))), arguments)
        kept = {number: finished(_files(arguments.output, number)[0], identity) for number, _ in shards}
        run.batches.size = _first_size(arguments, run, chunks.shape[1], nominal, kept)
        with counting(run.model, arguments.backend, **settings) as count:
            for number, batches in shards:
                if kept[number] is not None:
                    run.bar.update(sum(chunks[batch].size for batch in batches))
                    continue

                def work(size: int, batches=batches):
                    pin = run.device.type == "cuda"
                    return count(token_batches(chunks, passes(batches, size), pin=pin), run.bar.update)

                shard = run.batches(work)
                file, _ = _files(arguments.output, number)
                shard.save(file)
                kept[number] = {"tokens": shard.tokens, "batch_size": run.batches.size}
                mark_finished(file, identity, kept[number])
    done = [{"shard": number, **notes} for number, notes in kept.items()]
    size = min(shard["batch_size"] for shard in done)
    logger.info("%s: %d shards on %s, %d chunks a pass", label, len(done), run.device, size)
    backend = ops.active_backend(run.device, arguments.backend)
    return {"identity": identity, "shards": done, "device": str(run.device), "backend": backend}


def _identity(arguments: argparse.Namespace, run, tokens_hash: str, nominal: int) -> dict:
    """What shapes the numbers of a shard. A shard of an earlier run is kept only if nothing of this has changed."""
    from lape.model.architectures import ffn_entry

    return {
        **{name: getattr(arguments, name) for name in ("skip_first", "thresholds", "shards", "threads", "backend")},
        "model": sha256(arguments.model),
        "tokens": tokens_hash,
        "code": code_hash("lape.statistics.recording", "lape.model.loading", "lape.model.batches"),
        "ffn": ffn_entry(run.description["model_type"]),
        "device": str(run.device),
        "versions": {package: versions()[package] for package in ("torch", "transformers")},
        "wanted": {"batch_size": arguments.batch_size or "auto", "memory": arguments.memory},
        "batch_size": nominal,
    }


def _own(shards: list, arguments: argparse.Namespace) -> list:
    """The shards of this job; all shards where the jobs are not told apart."""
    if arguments.job is None:
        return shards
    first, last = (len(shards) * job // arguments.jobs for job in (arguments.job, arguments.job + 1))
    return shards[first:last]


def _first_size(arguments: argparse.Namespace, run, chunk_length: int, nominal: int, kept: dict) -> int:
    """Chunks of the first passes. Free memory differs between runs: a later run keeps the size that the first found."""
    from lape.model.batches import fitting_batch_size

    sizes = [notes["batch_size"] for notes in kept.values() if notes is not None]
    if sizes or arguments.batch_size:
        return min([nominal, *sizes])
    return fitting_batch_size(run.model, chunk_length, nominal, arguments.memory)


def _joined(paths: list[Path]) -> dict:
    """What all jobs counted, in the form that a single job returns.

    Raises:
        LapeError: the jobs counted differently, or a shard was counted by no job or by two.
    """
    groups = [read_json(path, "count") for path in paths]
    whole = {key: groups[0][key] for key in ("identity", "device", "backend")}
    for path, group in zip(paths, groups, strict=True):
        if any(group[key] != value for key, value in whole.items()):
            raise LapeError(f"{path}: was counted by other settings, code or device than {paths[0]}; run it again")
    shards = sorted((shard for group in groups for shard in group["shards"]), key=lambda shard: shard["shard"])
    if [shard["shard"] for shard in shards] != list(range(whole["identity"]["shards"])):
        raise LapeError(
            f"{paths[0].parent}: a shard is missing among the jobs, or comes twice; pass each job's file once"
        )
    return {**whole, "shards": shards}


def _write(output: Path, description: dict, tokens: dict, counted: dict, inputs: list[Path]) -> None:
    """Add up the shards and write the artifact."""
    from lape.model.sites import Sites
    from lape.statistics.sums import ActivationStatistics

    identity, whole, files = counted["identity"], None, []
    for shard in counted["shards"]:
        file, header = _files(output, shard["shard"])
        if finished(file, identity) is None:
            raise LapeError(f"{file}: is not the shard that was counted; run the count again")
        part = ActivationStatistics.load(file)
        whole = part if whole is None else whole + part
        files += [file, header]
    if whole.sites != Sites.of(description):
        raise LapeError(
            f"{output}: the counted model has {whole.sites}, its model.json describes {Sites.of(description)}; run the "
            "step of the model again"
        )
    remove_others(output.with_suffix(".shards"), files)
    whole.save(output)
    write_header(
        output.with_suffix(".json"),
        "statistics",
        language=tokens["language"],
        model=description["name"],
        model_revision=description["revision"],
        checkpoint=description["path"] if description["source"] == "hub" else None,
        **whole.sites.description(),
        tokens=whole.tokens,
        # The size of the passes that ran, since a batch may have been cut into passes that fit the memory.
        shards=[
            {"file": f"{file.parent.name}/{file.name}", "tokens": shard["tokens"], "batch_size": shard["batch_size"]}
            for shard, file in zip(counted["shards"], files[::2], strict=True)
        ],
        device=counted["device"],
        backend=counted["backend"],
        dtype=description["dtype"],
        parameters={
            name: identity[name] for name in ("batch_size", "skip_first", "thresholds", "shards", "threads", "backend")
        },
        inputs=inputs,
        outputs=[output, *files],
    )
    logger.info("statistics %s %s: %d tokens", description["name"], tokens["language"], whole.tokens)


def _files(output: Path, shard: int) -> list[Path]:
    """The file of a shard, and the file of the notes beside it."""
    file = output.with_suffix(".shards") / f"{shard}.npz"
    return [file, file.with_suffix(".json")]
