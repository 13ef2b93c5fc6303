"""Weight matrices read block by block, before the training and after it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError

_READ = 1 << 22  # parameters that are read at once, but at least one row
_BLOCK = 1 << 16  # parameters that are computed at once: few enough that their K values each stay in the cache


def read_copies(model: Path, finetuned: Sequence[Path]) -> tuple[dict, dict[str, Mapping], dict[str, Mapping]]:
    """The weight matrices of a model and of copies of it that were fine-tuned on one language each.

    Args:
        model: model.json of the model before fine-tuning.
        finetuned: the header of every copy.

    Returns:
        the header of the model; matrix -> weights before, tensors on the CPU in the model's dtype; and language ->
        matrix -> weights after, safetensors slices, which are read block by block.

    Raises:
        LapeError: a copy is of another model or cannot be read, or a language comes twice.
    """
    from safetensors import SafetensorError, safe_open

    from lape.model.loading import load_model

    # On the CPU in its own dtype: matrices are widened to float32 one block at a time.
    loaded, description = load_model(model, device="cpu", device_map=None, tensor_parallel=1, compile=False)
    weights = dict(loaded.named_parameters())
    copies, names = {}, {}
    for path in finetuned:
        header = read_json(path, "finetuned")
        if header["model_revision"] != description["revision"]:
            raise LapeError(f"{path}: was trained from another model than {model}; fine-tune that one")
        if header["language"] in copies:
            raise LapeError(f"{path}: {header['language']} comes twice; pass each language once")
        data = checked(path, header, ".safetensors")
        try:
            file = safe_open(data, "numpy")
            copies[header["language"]] = {name: file.get_slice(name) for name in header["matrices"]}
        except (OSError, SafetensorError) as error:
            raise LapeError(f"{data}: cannot be read ({error}); fine-tune again") from error
        names[path] = list(header["matrices"])
    first, matrices = next(iter(names.items()))
    missing = [name for name in matrices if name not in weights]
    if missing:
        raise LapeError(f"{first}: the model has no matrix {missing[0]}; fine-tune this model")
    return description, {name: weights[name] for name in matrices}, copies


def trainings(finetuned: Sequence[Path]) -> dict[str, dict[str, int]]:
    """Language -> the number of steps and of examples that its copy was trained on, from the headers of the copies."""
    headers = [read_json(path, "finetuned") for path in finetuned]
    return {header["language"]: {key: header[key] for key in ("steps", "examples")} for header in headers}


def check_matrices(language: str, copies: Mapping, matrices: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse copies whose matrices are not those of the model.

    Raises:
        LapeError: the copies of the language have other matrices, or matrices of other shapes.
    """
    shapes = {name: _shape(copies[name]) for name in copies}
    if shapes != matrices:
        different = sorted(name for name in {*shapes, *matrices} if shapes.get(name) != matrices.get(name))
        raise LapeError(
            f"{language}: the fine-tuned matrices are not those of the model ({different[0]}); fine-tune this model"
        )


def blocks(base, finetuned: Sequence) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
    """Yield a matrix in blocks: flat index of the first parameter, weights before, and K weights after, float32 [n]."""
    shape = tuple(base.shape)
    width = math.prod(shape[1:])
    rows = max(1, _READ // width)
    for row in range(0, shape[0], rows):
        end = min(row + rows, shape[0])
        before = _flat(base[row:end])
        after = [_flat(copy[row:end]) for copy in finetuned]
        for start in range(0, before.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            yield row * width + start, before[part], [values[part] for values in after]


def _flat(weights) -> np.ndarray:
    """Flatten an array, or a tensor of any dtype on any device, to float32 [n]."""
    import torch

    if isinstance(weights, torch.Tensor):
        weights = weights.detach().to("cpu", torch.float32).numpy()
    return np.asarray(weights, np.float32).reshape(-1)


def _shape(weights) -> tuple[int, ...]:
    """Shape of an array or of a safetensors slice."""
    return tuple(weights.get_shape() if hasattr(weights, "get_shape") else weights.shape)
