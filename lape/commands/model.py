"""Resolve a model: convert or locate its weights, record exactly which checkpoint it is and its FFN's shape."""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lape.artifacts.files import write_header, writing_folder
from lape.commands.arguments import json_object, positive
from lape.errors import LapeError
from lape.model.checkpoint import checkpoint_files
from lape.model.sites import Sites

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="the model's name in this run")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--gguf", type=Path, help="a GGUF checkpoint, converted into --weights")
    source.add_argument("--path", type=Path, help="a folder made by save_pretrained()")
    source.add_argument("--hub", help="a repository of the hub")
    parser.add_argument("--weights", type=Path, help="folder for the converted checkpoint (with --gguf, --pickled)")
    parser.add_argument("--revision", help="the hub's revision (with --hub)")
    parser.add_argument("--pickled", action="store_true", help="convert pickled weights into --weights (with --hub)")
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        default="auto",
        help="auto: bfloat16 where the device computes in it, else float32 on a CPU and float16 on a GPU",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--device-map", help="auto: spread the model over all devices")
    parser.add_argument(
        "--tensor-parallel", type=positive(int), default=1, help="ranks, started by torchrun, that share the model"
    )
    parser.add_argument("--attn-implementation", help="eager, sdpa, flash_attention_2 (default: transformers' choice)")
    parser.add_argument(
        "--quantization", choices=["bitsandbytes-8bit", "bitsandbytes-4bit"], help="load quantised weights"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network with torch.compile")
    parser.add_argument(
        "--shape", type=json_object, metavar="JSON", help="values that the model's configuration should have, by key"
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the repository ships")
    parser.add_argument("--output", type=Path, required=True, help="model.json; tokenizer.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.machine.device import resolve_device
    from lape.model import loading as models
    from lape.model.quantization import quantization_config

    dtype = models.resolve_dtype(arguments.dtype, resolve_device(arguments.device))
    if arguments.tensor_parallel > 1:
        for name in ("device_map", "quantization", "compile"):
            if getattr(arguments, name):
                raise LapeError(f"model {arguments.name}: tensor_parallel does not go with {name}; leave one out")
    quantization_config(arguments.quantization, dtype)  # a missing package is known before anything is fetched
    checkpoint = _resolve(arguments, dtype)
    folder = checkpoint.folder
    settings = {name: getattr(arguments, name) for name in models.SETTINGS}
    description = models.describe(folder, dtype, settings, arguments.shape)
    hashes, sizes = models.folder_identity(folder)
    # A folder has no commit: the hash over its files' hashes names it.
    revision = checkpoint.commit or hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    tokenizer = arguments.output.with_name("tokenizer.json")
    bos = models.save_tokenizer(folder, arguments.trust_remote_code, tokenizer, description["vocab_size"])
    write_header(
        arguments.output,
        "model",
        name=arguments.name,
        source=checkpoint.source,
        path=str(checkpoint.path),
        dtype=str(dtype).removeprefix("torch."),
        revision=revision,
        **description,
        **bos,
        hashes=hashes,
        sizes=sizes,
        parameters=settings,
        inputs=checkpoint.inputs,
        outputs=[tokenizer, *checkpoint.outputs],
    )
    logger.info("model %s: %s, %s, %s", arguments.name, description["architecture"], Sites.of(description), dtype)


class _Checkpoint(NamedTuple):
    source: str  # "gguf", "path", "hub" or "pickled"
    path: Path | str  # the folder, or the repository of the hub
    folder: Path  # where the files are
    commit: str | None = None  # of the hub
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()  # files that were made of the inputs


def _resolve(arguments: argparse.Namespace, dtype) -> _Checkpoint:
    """Locate a checkpoint, fetch it, or convert it."""
    from lape.model import conversion
    from lape.model import loading as models

    if arguments.path:
        return _Checkpoint("path", arguments.path, arguments.path, inputs=checkpoint_files(arguments.path))
    weights = arguments.weights
    if weights is None and (arguments.gguf or arguments.pickled):
        raise LapeError("--gguf and --pickled need --weights; name the folder for the converted checkpoint")
    if arguments.gguf:
        with writing_folder(weights) as folder:
            conversion.convert_gguf(arguments.gguf, folder, dtype)
        return _Checkpoint("gguf", weights, weights, inputs=[arguments.gguf], outputs=checkpoint_files(weights))
    if not arguments.revision:
        raise LapeError(f"model {arguments.name}: a hub model needs its `revision`; name it, so that it is pinned")
    fetched = models.fetch(arguments.hub, arguments.revision, arguments.trust_remote_code, arguments.pickled)
    commit = fetched.name
    if not arguments.pickled:
        return _Checkpoint("hub", arguments.hub, fetched, commit)
    with writing_folder(weights) as folder:
        conversion.convert_pickled(fetched, folder, dtype)
    return _Checkpoint("pickled", weights, weights, commit, outputs=checkpoint_files(weights))
