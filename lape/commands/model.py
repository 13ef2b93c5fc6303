"""Resolve a model: convert or locate its weights, record exactly which checkpoint it is and its FFN's shape."""

import argparse
import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from lape.artifacts.files import flush, folder_beside, write_header
from lape.commands.arguments import json_object, positive
from lape.errors import LapeError
from lape.model.checkpoint import checkpoint_files

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
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--device-map", help="auto: spread the model over all devices")
    parser.add_argument(
        "--tensor-parallel", type=positive(int), default=1, help="ranks, started by torchrun, that share the model"
    )
    parser.add_argument("--attn-implementation", help="eager, sdpa, flash_attention_2; default: transformers' choice")
    parser.add_argument(
        "--quantization", choices=["bitsandbytes-8bit", "bitsandbytes-4bit"], help="load quantised weights"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network with torch.compile")
    parser.add_argument("--shape", type=json_object, metavar="JSON", help="what its configuration should say, by key")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the repository ships")
    parser.add_argument("--output", type=Path, required=True, help="model.json; tokenizer.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.machine.device import resolve_device
    from lape.model import loading as models

    device = resolve_device(arguments.device)
    dtype = models.resolve_dtype(arguments.dtype, device)
    if arguments.tensor_parallel > 1:
        for name in ("device_map", "quantization", "compile"):
            if getattr(arguments, name):
                raise LapeError(f"model {arguments.name}: tensor_parallel does not go with {name}; leave one out")
    models.quantization_config(arguments.quantization, dtype)  # a missing package is known before anything is fetched
    inputs: list[Path] = []
    outputs: list[Path] = []
    if arguments.gguf:
        source, path = "gguf", arguments.weights
        _convert(path, lambda folder: models.convert_gguf(arguments.gguf, folder, dtype))
        inputs = [arguments.gguf]
        outputs = checkpoint_files(path)
    elif arguments.path:
        source, path = "path", arguments.path
        inputs = checkpoint_files(path)
    else:
        if not arguments.revision:
            raise LapeError(f"model {arguments.name}: a hub model needs its `revision`; name it, so that it is pinned")
        source, path = "hub", arguments.hub
    folder, commit = path, None
    if source == "hub":
        folder = models.fetch(path, arguments.revision, arguments.trust_remote_code, arguments.pickled)
        commit = folder.name
        if arguments.pickled:
            source, path, pickles = "pickled", arguments.weights, folder
            _convert(path, lambda folder: models.convert_pickled(pickles, folder, dtype))
            folder, outputs = path, checkpoint_files(path)

    description = models.describe(folder, arguments.trust_remote_code, arguments.tensor_parallel, arguments.shape)
    hashes, sizes = models.folder_identity(folder)
    # A folder has no commit: the hash over its files' hashes names it.
    revision = commit or hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    tokenizer = arguments.output.with_name("tokenizer.json")
    bos_token_id = models.save_tokenizer(folder, arguments.trust_remote_code, tokenizer)
    write_header(
        arguments.output,
        "model",
        name=arguments.name,
        source=source,
        path=str(path),
        dtype=str(dtype).removeprefix("torch."),
        revision=revision,
        **description,
        bos_token_id=bos_token_id,
        hashes=hashes,
        sizes=sizes,
        parameters={name: getattr(arguments, name) for name in models.SETTINGS},
        inputs=inputs,
        outputs=[tokenizer, *outputs],
    )
    logger.info(
        "model %s: %s, %d layers of %d neurons, %s",
        arguments.name,
        description["architecture"],
        description["layers"],
        description["neurons_per_layer"],
        dtype,
    )


def _convert(folder: Path | None, convert: Callable[[Path], None]) -> None:
    """Convert into a temporary folder and rename it, so that a kill leaves no half checkpoint."""
    from safetensors import SafetensorError

    if folder is None:
        raise LapeError("--gguf and --pickled need --weights; name the folder for the converted checkpoint")
    try:
        with folder_beside(folder) as beside:
            temporary = beside / folder.name
            temporary.mkdir()
            convert(temporary)
            for written in (*temporary.iterdir(), temporary):
                flush(written)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            flush(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LapeError(
            f"{folder}: the converted checkpoint cannot be written ({error}); free some disk or mend the folder"
        ) from error
