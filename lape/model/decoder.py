"""The decoder of a causal LM, how much it can read, and the devices that its modules compute on."""

import torch
from torch import nn

# By so much of their norm hidden states may differ where sums are rounded otherwise, in bfloat16.
_ROUNDING = 0.05


def decoder_of(model: nn.Module) -> nn.Module:
    """The part of a causal LM that turns token ids into hidden states; all but the LM head."""
    decoder = model.get_decoder()
    return decoder if hasattr(decoder, "config") else model.base_model


def context_length(model: nn.Module) -> int | None:
    """Number of positions that a causal LM says it can read; None where it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


@torch.inference_mode()
def reads_on(model: nn.Module) -> bool:
    """Whether a causal LM reads several tokens behind a cache as it reads them behind the tokens themselves.

    Models with a recurrent state do not. The others are tried on a few tokens: the hidden states of both ways may
    differ by rounding alone.
    """
    if getattr(model, "_is_stateful", False):
        return False
    decoder, ids = decoder_of(model), torch.arange(16, device=input_device(model))[None]
    expected = decoder(input_ids=ids, use_cache=False).last_hidden_state[:, 8:].float()
    try:
        cache = decoder(input_ids=ids[:, :8].expand(2, -1), use_cache=True).past_key_values
        cache.batch_select_indices(torch.tensor([1]))
        found = decoder(input_ids=ids[:, 8:], past_key_values=cache, use_cache=True).last_hidden_state.float()
    except (AttributeError, TypeError):  # of a model's own code: it has no cache, or another kind of cache
        return False
    return bool((found - expected).norm() <= _ROUNDING * expected.norm())


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
