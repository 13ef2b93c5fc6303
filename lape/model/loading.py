"""Models: where their weights come from, which checkpoint exactly they are, and how they are loaded."""

import logging
import os
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from lape.artifacts.files import read_json, sha256, writing
from lape.artifacts.headers import Header
from lape.artifacts.hub_errors import explain
from lape.errors import LapeError, first_line
from lape.machine import ranks
from lape.machine.device import resolve_device
from lape.model.architectures import ffn_entry
from lape.model.checkpoint import PATTERNS, checkpoint_files
from lape.model.decoder import decoder_of
from lape.model.ffn import find_ffn
from lape.model.quantization import own_scheme, quantization_config
from lape.model.sites import Sites
from lape.model.tokenizer import begins_with
from lape.model.weights import check_hashes, check_report, unreadable, weight_hashes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.distributed import DistributedConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MOST_LAYERS = 10_000
# Settings that say how a model is loaded. They are in the model's entry of the catalogue and in its artifact.
SETTINGS = ("dtype", "device", "device_map", "tensor_parallel", "attn_implementation", "quantization", "compile")
SETTINGS += ("trust_remote_code",)
# Setting -> the types of its values in an artifact, whose header may have been edited by hand.
_TYPES: dict[str, tuple[type, ...]] = {
    **{"device": (str,), "tensor_parallel": (int,), "trust_remote_code": (bool,), "compile": (bool, NoneType)},
    **{"device_map": (str, dict, NoneType), "attn_implementation": (str, NoneType), "quantization": (str, NoneType)},
}
logger = logging.getLogger(__name__)


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """The torch dtype of a setting. "auto" is bfloat16 where the device computes in it, else float32.

    A GPU without bfloat16 gets float16 for "auto".
    """
    if dtype != "auto":
        return DTYPES[dtype]
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32


def describe(path: str | Path, dtype: torch.dtype, settings: Mapping, shape: Mapping | None = None) -> dict:
    """Shape and identity of a checkpoint, without loading its weights.

    Args:
        path: a checkpoint folder.
        dtype: the type that weights are loaded in.
        settings: values of `SETTINGS`; trust_remote_code, tensor_parallel, quantization and device are used.
        shape: key -> value that the decoder's configuration should have. A difference gives a warning.

    Returns:
        architecture, model_type, ffn (the model's entry in the table of architectures), the fields of
        `lape.model.sites.Sites.description`, vocab_size, context_length, scheme (in which the checkpoint's weights are
        quantised; None where they are plain), weights (hashes of a few of them, see `lape.model.weights`).

    Raises:
        LapeError: the checkpoint cannot be read, its architecture is not known, it lacks weights, it cannot be spread
            over the ranks, or its quantised weights do not run here.
    """
    model = _on_meta(path, settings["trust_remote_code"])
    scheme = own_scheme(model.config, path, settings["quantization"], settings["device"])
    if scheme is None:
        load_names(path, settings["trust_remote_code"])
    tensor_parallel = settings["tensor_parallel"]
    ffn = find_ffn(model)
    if tensor_parallel > 1:
        widths = sorted({(part.paths.down, part.site.width) for part in ffn.parts})
        ranks.check_plan(decoder_of(model), widths, tensor_parallel)
    decoder = decoder_of(model).config
    for key, value in (shape or {}).items():
        found = getattr(decoder, key, None)
        if found != value:
            logger.warning(
                "%s: its %s is %s, the catalogue's shape says %s: the plan was of another", path, key, found, value
            )
    return {
        "architecture": type(model).__name__,
        "model_type": decoder.model_type,
        "ffn": ffn_entry(decoder.model_type),
        **ffn.sites.description(),
        "vocab_size": model.get_input_embeddings().num_embeddings,
        "context_length": getattr(decoder, "max_position_embeddings", None),
        "scheme": scheme,
        "weights": weight_hashes(path, model, dtype, linear=scheme is None and settings["quantization"] is None),
    }


def _on_meta(path: str | Path, trust_remote_code: bool) -> "PreTrainedModel":
    """The model of a checkpoint's configuration, without weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        layers = config.get_text_config().num_hidden_layers
        if layers > _MOST_LAYERS:  # making so many layers would take days, even without weights
            raise ValueError(f"{layers} layers")
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # a damaged configuration fails in many ways
        raise LapeError(
            f"{path}: cannot be read as a causal language model ({first_line(error)}); mend the model's entry or its "
            "files"
        ) from error


def load_names(path: str | Path, trust_remote_code: bool) -> "PreTrainedModel":
    """Load a checkpoint to the meta device, which reads the names and shapes of its weights and no values.

    Raises:
        LapeError: a weight is missing, has another shape or has no place in the model.
    """
    try:
        model, report = _loaded(path, device_map={"": "meta"}, trust_remote_code=trust_remote_code)
    except Exception as error:  # damaged files fail in many ways
        raise unreadable(path, error) from error
    check_report(path, model, report)
    return model


def _loaded(path: str | Path, **arguments) -> tuple["PreTrainedModel", dict]:
    """A checkpoint's model, and the report of its load, which transformers does not show: `check_report` judges it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, ignore_mismatched_sizes=True, output_loading_info=True, **arguments
        )
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_model(model_json: str | Path, **settings) -> tuple["PreTrainedModel", dict]:
    """Load the model that a `model` artifact describes, in evaluation mode.

    With tensor parallelism each rank loads its columns, and from here on keeps in step with the other ranks.

    Args:
        model_json: path of the artifact's header.
        **settings: values for some of `SETTINGS`, other than dtype, that replace those of the artifact. With
            tensor_parallel 1, ranks that exist are the caller's own, and each loads the whole model.

    Returns:
        the model on its device, and the content of the artifact's header.

    Raises:
        LapeError: the artifact or a weight file is missing, there is too little memory, or the process was not started
            as one of the ranks that the model is spread over.
    """
    header = read_json(model_json, "model")
    path, revision = location(model_json, header)
    parameters = Header(model_json, header["parameters"] | settings)
    for name, kinds in _TYPES.items():
        if type(parameters[name]) not in kinds:
            raise LapeError(
                f"{model_json}: its {name} cannot be {parameters[name]!r}; run the step that makes it again"
            )
    device, dtype = resolve_device(parameters["device"]), DTYPES[header["dtype"]]
    spread = parameters["tensor_parallel"]
    if "tensor_parallel" not in settings:
        ranks.join(spread, torch.device(device).type)
    quantization = quantization_config(parameters["quantization"], dtype)
    placed = quantization is not None or header.get("scheme") is not None  # quantised weights are made where they run
    arguments = {} if quantization is None else {"quantization_config": quantization}  # None would undo a checkpoint's
    try:
        model, report = _loaded(
            path,
            revision=revision,
            dtype=dtype,
            attn_implementation=parameters["attn_implementation"],
            device_map=parameters["device_map"] or (device if placed else None),
            trust_remote_code=parameters["trust_remote_code"],
            distributed_config=_tensor_parallel(spread) if spread > 1 else None,
            **arguments,
        )
        if parameters["device_map"] is None and not placed and spread == 1:
            model = model.to(device)
    except torch.OutOfMemoryError as error:
        raise LapeError(f"{path}: does not fit on {device}; set its `device_map` or `tensor_parallel`") from error
    except (ValueError, ImportError, RuntimeError) as error:
        raise LapeError(
            f"{path}: the model cannot be loaded ({first_line(error)}); mend its attn_implementation, device_map or "
            "quantization, or save its files anew"
        ) from error
    except (OSError, SafetensorError) as error:
        raise LapeError(
            f"{path}: the model cannot be loaded ({first_line(error)}); fetch or save its files anew"
        ) from error
    check_report(path, model, report)
    check_hashes(path, model, header.get("weights", {}), dtype)
    if any(site.experts > 1 for site in Sites.of(header).sites):
        # Only in this implementation do each expert's activations exist by themselves. Runs that record and perturb
        # nothing use it too, so that all runs compare.
        model.set_experts_implementation("eager")
    if parameters["compile"]:
        decoder_of(model).compile()
    return model.eval(), header


def load_folder(
    folder: str | Path, device: str, dtype: torch.dtype, attn_implementation: str | None = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load the model and the tokenizer of a checkpoint folder, without a `model` artifact, in evaluation mode.

    Raises:
        LapeError: files are missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        model, report = _loaded(folder, dtype=dtype, attn_implementation=attn_implementation)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # damaged files fail in many ways
        raise unreadable(folder, error) from error
    check_report(folder, model, report)
    return model.to(device).eval(), tokenizer


def _tensor_parallel(ranks: int) -> "DistributedConfig":
    """The transformers configuration of a model that is spread over a number of ranks."""
    from transformers.distributed import DistributedConfig

    return DistributedConfig(tp_size=ranks, tp_plan="auto")


def fetch(repository: str, revision: str, trust_remote_code: bool, pickled: bool = False) -> Path:
    """Fetch a repository of the hub into its cache, once for all jobs.

    Args:
        repository: name such as "meta-llama/Llama-2-7b-hf". The token for a gated repository is in the environment.
        revision: commit, tag or branch.
        trust_remote_code: fetch Python files too.
        pickled: fetch pickled weights too.

    Returns:
        the folder in the cache. Its name is the commit.

    Raises:
        LapeError: the repository or revision does not exist, or there is no access or no network.
    """
    import huggingface_hub

    patterns = [*PATTERNS, *["*.py"] * trust_remote_code, *["pytorch_model*.bin"] * pickled]
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # exceptions of the hub and of two libraries for its protocol
        reason, remedy = explain(error)
        remedy = remedy or "check name, revision, access (HF_TOKEN) and network"
        raise LapeError(f"{repository} at {revision}: cannot be fetched from the hub ({reason}); {remedy}") from error


def save_tokenizer(path: str | Path, trust_remote_code: bool, output: str | Path, vocab_size: int) -> dict:
    """Write a checkpoint's fast tokenizer as one tokenizer.json, which loads without transformers.

    Args:
        path: a checkpoint folder.
        trust_remote_code: run code that the checkpoint ships.
        output: the file to write.
        vocab_size: rows of the model's embedding. A BOS beyond them counts as none, with a warning.

    Returns:
        bos_token_id (None without one), and begins_with: the id that the tokenizer puts before a text, or None.

    Raises:
        LapeError: the checkpoint has no tokenizer, or a slow one, which does not say which bytes a token covers.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # a damaged file fails in many ways
        raise LapeError(f"{path}: the tokenizer cannot be loaded ({first_line(error)}); save its files anew") from error
    if not tokenizer.is_fast:
        raise LapeError(f"{path}: has no fast tokenizer; save one there (tokenizer.json)")
    backend = tokenizer.backend_tokenizer
    # Some repositories keep truncation and padding from training. They would cut documents and pad chunks.
    backend.no_truncation()
    backend.no_padding()
    with writing(output) as temporary:
        temporary.write_text(backend.to_str(), encoding="utf-8")
    beyond = {token: number for token, number in backend.get_vocab().items() if number >= vocab_size}
    if beyond:
        logger.warning(
            "%s: the model has %d embeddings, and none of %s; text in which they occur is refused",
            path,
            vocab_size,
            ", ".join(f"{token!r} (id {number})" for token, number in sorted(beyond.items(), key=itemgetter(1))[:3]),
        )
    bos = tokenizer.bos_token_id if tokenizer.bos_token not in beyond else None
    begins = begins_with(backend)
    return {"bos_token_id": bos, "begins_with": begins if begins not in beyond.values() else None}


def check_found_on(description: dict, path: str | Path, header: dict) -> None:
    """Check that neurons, parameters, steering values or expert units were found on the model at hand.

    A released file names no checkpoint, and passes.

    Args:
        description: header of the model artifact that is at hand.
        path, header: path and content of the header of what was found.

    Raises:
        LapeError: it was found on another checkpoint.
    """
    found, wanted = header.get("model_revision"), description["revision"]
    if found not in (None, wanted):
        raise LapeError(
            f"{path}: found on {header['model']}, not on {description['name']} ({found} is not {wanted}); "
            "find them on this model"
        )


def location(model_json: str | Path, header: dict) -> tuple[str, str | None]:
    """Where the checkpoint of a model artifact is: (repository, commit), or (folder, None).

    The files of a folder are compared with the artifact by their sizes. A relative folder was written in the folder in
    which the workflow ran. That folder is looked for among the working directory and the folders above the artifact,
    so that a model loads from everywhere.

    Raises:
        LapeError: a file of the folder is missing or has changed.
    """
    if header["source"] == "hub":
        return header["path"], header["revision"]
    above = Path(model_json).resolve().parents
    roots = [Path(), *above] if Path.cwd() in above else [*above, Path()]
    folder = next((root / header["path"] for root in roots if (root / header["path"]).is_dir()), Path(header["path"]))
    for name, size in header["sizes"].items():
        file = folder / name
        if not file.is_file():
            raise LapeError(f"{file}: missing, though {model_json} names it; put it back, or run the model step again")
        if file.stat().st_size != size:
            raise LapeError(
                f"{file}: changed since {model_json} was written; put the old one back, or run the model step again"
            )
    return str(folder), None


def folder_identity(folder: str | Path) -> tuple[dict[str, str], dict[str, int]]:
    """The SHA-256 and the size of every file of a checkpoint folder, each by name."""
    files = checkpoint_files(folder)
    return {file.name: sha256(file) for file in files}, {file.name: os.path.getsize(file) for file in files}
