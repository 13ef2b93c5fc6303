"""Quantised weights: those that a checkpoint brings, and those that a load makes of a plain one."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lape.errors import LapeError, first_line
from lape.machine.device import resolve_device

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig


def own_scheme(config: "PreTrainedConfig", path: str | Path, setting: str | None, device: str) -> str | None:
    """The scheme in which a checkpoint's weights are quantised; None where they are plain.

    Args:
        config: the checkpoint's configuration.
        path: the checkpoint, for messages.
        setting: the model's setting `quantization`, which does not go with a scheme of the checkpoint's own.
        device: the model's setting `device`, where it is to run.

    Raises:
        LapeError: transformers does not know the scheme, a package that reads it is missing, or it does not run on the
            device.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    given = (getattr(each, "quantization_config", None) for each in (config, config.get_text_config()))
    own = next((each for each in given if each is not None), None)
    if own is None:
        return None
    device = resolve_device(device)
    own = own if isinstance(own, dict) else own.to_dict()
    name = str(own.get("quant_method") or "bitsandbytes")
    if setting is not None:
        raise LapeError(
            f"{path}: its weights are quantised already ({name}); leave the model's `quantization` ({setting}) out"
        )
    fault = f"{path}: its weights are quantised by {name}"
    try:
        known = AutoHfQuantizer.supports_quant_method(own)
        if known:
            AutoHfQuantizer.from_config(own, pre_quantized=True).validate_environment(device_map={"": device})
    except (ImportError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LapeError(
            f"{fault}, which cannot be read on {device} ({first_line(error)}); install what is missing, run on another "
            "device, or take a checkpoint with plain weights"
        ) from error
    if not known:
        raise LapeError(f"{fault}, a scheme that transformers does not know; take a checkpoint of another scheme")
    return name


def quantization_config(setting: str | None, dtype: torch.dtype) -> "BitsAndBytesConfig | None":
    """The transformers configuration with which a load quantises plain weights; None where they stay plain.

    Raises:
        LapeError: bitsandbytes is not installed.
    """
    if setting is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LapeError(
            f"quantization {setting}: bitsandbytes is not installed; `pip install bitsandbytes`, or leave it out"
        )
    from transformers import BitsAndBytesConfig

    if setting == "bitsandbytes-8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, bnb_4bit_quant_type="nf4")
