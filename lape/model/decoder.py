"""The decoder of a causal LM, how much it can read, and the devices that its modules compute on."""

import torch
from torch import nn


def decoder_of(model: nn.Module) -> nn.Module:
    """The part of a causal LM that turns token ids into hidden states; all but the LM head."""
    decoder = model.get_decoder()
    return decoder if hasattr(decoder, "config") else model.base_model


def context_length(model: nn.Module) -> int | None:
    """Number of positions that a causal LM says it can read; None where it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def eos_token(model: nn.Module) -> int | None:
    """The model's token for the end of a text, the first where it has several; None where it names none."""
    eos = model.config.get_text_config().eos_token_id
    return eos[0] if isinstance(eos, list) else eos


def device_of(module: nn.Module) -> torch.device:
    """The device that a module computes on: that of its weights, or the one that accelerate moves them to."""
    hook = next((part._hf_hook for part in module.modules() if hasattr(part, "_hf_hook")), None)
    moved = getattr(hook, "execution_device", None)
    if moved is not None:
        return torch.device(moved)
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def input_device(model: nn.Module) -> torch.device:
    """The device on which a model takes its token ids."""
    return device_of(model.get_input_embeddings())
