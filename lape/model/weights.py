"""Whether the weights that a model has are those that its checkpoint says.

transformers fills what a checkpoint lacks with random values, and leaves out what the model has no place for. It
reports both, and goes on. Here the report is judged, and a few weights are compared with the files at every load.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lape.errors import LapeError, first_line
from lape.model.decoder import decoder_of

# Weights that are compared, evenly spaced over the model, and the elements of each. More would cost seconds a load.
_COMPARED, _ELEMENTS = 8, 2**18
_FLOATS = ("F32", "BF16", "F16")


def check_report(path: str | Path, model: nn.Module, report: Mapping) -> None:
    """Judge what transformers reports of a load (`output_loading_info`).

    Tied weights and the buffers that transformers knows to be harmless are in neither list of its report. A weight
    without a place is a fault in the decoder and in the LM head alone, so that the text part of a multimodal checkpoint
    passes.

    Args:
        path: the checkpoint, for the message.
        model: a causal LM.
        report: its keys missing_keys, unexpected_keys and mismatched_keys are looked at.

    Raises:
        LapeError: a weight is missing, has another shape or has no place in the model. The message names the first.
    """
    mismatched = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
    homes = tuple(_homes(model))
    homeless = [key for key in report["unexpected_keys"] if key.startswith(homes)]
    faults = (("lacks", report["missing_keys"]), ("has in another shape", mismatched), ("has no place for", homeless))
    for fault, keys in faults:
        if keys:
            subject = "the model" if keys is homeless else "the checkpoint"
            raise LapeError(
                f"{path}: {subject} {fault} {_first(keys)}; its weights would be random or left out, so mend its files "
                "or its config.json"
            )


def unreadable(path: str | Path, error: Exception) -> LapeError:
    """The fault of a checkpoint whose files of weights are missing or damaged."""
    return LapeError(f"{path}: its weights cannot be read ({first_line(error)}); fetch or save its files anew")


def _homes(model: nn.Module) -> Iterator[str]:
    """How the names of the weights of the decoder and of the LM head begin."""
    decoder, head = decoder_of(model), model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is decoder:
            yield from (f"{name}.{child}.".lstrip(".") for child, _ in module.named_children())
        elif module is head:
            yield f"{name}."


def _first(keys) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def weight_hashes(folder: str | Path, model: nn.Module, dtype: torch.dtype, linear: bool = True) -> dict[str, str]:
    """Hashes of a few weights, as the files of a checkpoint hold them and as a load must yield them.

    Args:
        folder: the checkpoint's folder.
        model: the model, on the meta device.
        dtype: the type that weights are loaded in.
        linear: whether the weights of linear layers may be among them; false where a load quantises those.

    Returns:
        SHA-256 of the first elements, by the name of the parameter. Weights that the files hold under another name, in
        another shape or quantised are left out.

    Raises:
        LapeError: a file of weights is missing or damaged.
    """
    try:
        return _hashes_of_files(Path(folder), model, dtype, linear)
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(folder, error) from error


def _hashes_of_files(folder: Path, model: nn.Module, dtype: torch.dtype, linear: bool) -> dict[str, str]:
    files = files_by_name(folder)
    prefix = f"{model.base_model_prefix}."
    quantised = [] if linear else [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    skipped, found = {id(weight) for weight in quantised}, {}
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(safe_open(folder / name, "pt")) for name in set(files.values())}
        for name, parameter in model.named_parameters():
            key = next((key for key in (name, name.removeprefix(prefix)) if key in files), None)
            if key is None or id(parameter) in skipped or not parameter.dim():
                continue
            weight = opened[files[key]].get_slice(key)
            if weight.get_dtype() in _FLOATS and tuple(weight.get_shape()) == tuple(parameter.shape):
                found[name] = weight, parameter.shape
        names = list(found)
        places = {round(place * (len(names) - 1) / (_COMPARED - 1)) for place in range(_COMPARED)} if names else ()
        return {names[place]: _hash(*found[names[place]], dtype) for place in sorted(places)}


def check_hashes(path: str | Path, model: nn.Module, hashes: Mapping[str, str], dtype: torch.dtype) -> None:
    """Compare a few weights of a loaded model with the checkpoint's files.

    Args:
        path: the checkpoint, for the message.
        model: the loaded model. Weights that accelerate holds elsewhere are not compared.
        hashes: see `weight_hashes`.
        dtype: the type that weights are loaded in.

    Raises:
        LapeError: a weight differs.
    """
    parameters = dict(model.named_parameters())
    for name, wanted in hashes.items():
        parameter = parameters.get(name)
        if parameter is not None and parameter.is_meta:
            continue
        if isinstance(parameter, torch.distributed.tensor.DTensor):
            parameter = parameter.full_tensor()
        if parameter is None or _hash(parameter.detach(), parameter.shape, dtype) != wanted:
            raise LapeError(
                f"{path}: {name} was loaded with other values than the checkpoint's files hold; this version of "
                "transformers, or of the package that reads its quantised weights, cannot be trusted with it"
            )


def _hash(weight, shape: torch.Size, dtype: torch.dtype) -> str:
    """Hash of a weight's first elements, in a dtype. The weight is a tensor, or a slice of a safetensors file."""
    rows = -(-_ELEMENTS // max(1, shape[1:].numel()))
    values = weight[:rows].to(device="cpu", dtype=dtype).flatten()[:_ELEMENTS].contiguous()
    return hashlib.sha256(values.view(torch.uint8).numpy().tobytes()).hexdigest()


def files_by_name(folder: Path) -> dict[str, str]:
    """Tensor -> file of a checkpoint, as transformers looks for it; empty where it is saved otherwise."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    if single.is_file():
        with safe_open(single, "pt") as file:
            return dict.fromkeys(file.keys(), single.name)
    return {}
