"""Perplexity of chunks of tokens, with the LM head computed a block of positions at a time."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.kernels import ops
from lape.model.ffn import input_device, replaced_forwards

# Logits that exist at once: 256 positions of 262,144 in bfloat16 are 128 MiB. Fewer read the head's weights too often.
LOGITS_IN_MEMORY = 2**26


@torch.inference_mode()
def chunk_nll(
    model: nn.Module,
    chunks: np.ndarray,
    batch_size: int = 4,
    backend: str = "extension",
    on_batch: Callable[[int], None] = lambda tokens: None,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """Negative log-likelihood of each chunk, summed over its T - 1 predicted positions.

    Args:
        model: a Hugging Face causal LM.
        chunks: int32 [N, T], token ids.
        batch_size: chunks a forward pass.
        backend: "extension" or "reference", of the op that reduces the logits.
        on_batch: called with each batch's number of tokens, for progress.
        lengths: int [N], tokens of each chunk where it is padded on its right, of which no other position knows; the
            padding, of any ids, is predicted in vain. None: T.

    Returns:
        float64 [N], in nats.

    Raises:
        LapeError: the likelihood is not finite.
    """
    decoder = model.get_decoder()
    device = input_device(model)
    result = np.empty(len(chunks))  # small tensors that stay would break up the memory that passes reuse
    for start in range(0, len(chunks), batch_size):
        ids = torch.from_numpy(chunks[start : start + batch_size].astype(np.int64)).to(device)
        output = decoder(input_ids=ids, use_cache=False)
        nll = _position_nll(model, decoder, output, ids, backend)
        if lengths is not None:
            ends = torch.from_numpy(lengths[start : start + batch_size]).to(nll.device)
            nll = nll.where(torch.arange(1, ids.shape[1], device=nll.device) < ends[:, None], 0)
        result[start : start + batch_size] = nll.sum(dim=1).cpu().numpy()
        on_batch(ids.numel())
    if not np.isfinite(result).all():
        raise LapeError("the perplexity is NaN or infinite; set the model's dtype to float32 or bfloat16")
    return result


def _position_nll(model: nn.Module, decoder: nn.Module, output, ids: Tensor, backend: str) -> Tensor:
    """NLL of every predicted position [B, T - 1]: blocks of hidden states through the model's own head."""
    hidden = output.last_hidden_state[:, :-1].flatten(0, 1)[None]
    previous, targets = ids[None, :, :-1].flatten(1), ids[:, 1:].flatten()
    block = max(1, LOGITS_IN_MEMORY // model.get_input_embeddings().num_embeddings)
    parts = []
    for start in range(0, hidden.shape[1], block):
        piece = copy.copy(output)
        piece.last_hidden_state = hidden[:, start : start + block]
        with _returning(decoder, piece):
            # The model's own forward: its head, scale and soft cap, whatever they are.
            logits = model(input_ids=previous[:, start : start + block], use_cache=False).logits[0]
        target = targets[start : start + block].to(logits.device)
        parts.append(ops.token_nll(logits, target, backend=backend))
    return torch.cat(parts).view(len(ids), -1)


@contextlib.contextmanager
def _returning(decoder: nn.Module, output) -> Iterator[None]:
    """While inside, the decoder returns `output` and computes nothing."""
    compiled = decoder.__dict__.pop("_compiled_call_impl", None)  # of torch.compile
    try:
        with replaced_forwards([(decoder, lambda *args, **kwargs: output)]):
            yield
    finally:
        if compiled is not None:
            decoder._compiled_call_impl = compiled


def likelihood_measures(nll: float, tokens: int, text_bytes: int) -> dict[str, float]:
    """The three measures of one text.

    Args:
        nll: summed over tokens, in nats.
        tokens: predicted tokens.
        text_bytes: UTF-8 bytes that these tokens cover.

    Returns:
        nll (mean per token), ppl = exp(nll), and bits_per_byte, which compares tokenizers.
    """
    mean = nll / tokens
    return {"nll": mean, "ppl": math.exp(mean), "bits_per_byte": nll / math.log(2) / text_bytes}
