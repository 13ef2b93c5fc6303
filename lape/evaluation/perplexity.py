"""Perplexity of chunks of tokens. The LM head is computed for one block of positions at a time."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.kernels import ops
from lape.model.decoder import decoder_of, input_device
from lape.model.patching import replaced_forwards

# Largest number of logits that exist at once. In bfloat16 it takes 128 MiB, and with a vocabulary of 262,144 it holds
# 256 positions. A smaller number would read the head's weights too often.
LOGITS_IN_MEMORY = 2**26


@torch.inference_mode()
def chunk_nll(
    model: nn.Module,
    chunks: np.ndarray,
    batch_size: int = 4,
    backend: str = "auto",
    on_batch: Callable[[int], None] = lambda tokens: None,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """Negative log-likelihood of each chunk, summed over its T - 1 predicted positions.

    Args:
        model: a Hugging Face causal LM.
        chunks: int32 [N, T], token ids.
        batch_size: chunks per forward pass.
        backend: the implementation of the operator that reduces the logits; see `lape.kernels.ops.resolved`.
        on_batch: called with the number of tokens of each batch, for progress.
        lengths: int [N], number of tokens of each chunk, for chunks that are padded on their right. The padding may
            have any ids: causal attention hides it from the tokens, and its predictions are not counted. None: T.

    Returns:
        float64 [N], in nats.

    Raises:
        LapeError: the likelihood is not finite.
    """
    decoder = decoder_of(model)
    device = input_device(model)
    backend = ops.resolved(backend, device)
    # One array holds the result: a small tensor kept per batch would fragment the memory that later passes reuse.
    result = np.empty(len(chunks))
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
    """NLL of every predicted position [B, T - 1]."""
    hidden = output.last_hidden_state[:, :-1].flatten(0, 1)[None]
    previous, targets = ids[None, :, :-1].flatten(1), ids[:, 1:].flatten()
    return hidden_nll(model, decoder, output, hidden, previous, targets, backend).view(len(ids), -1)


def hidden_nll(
    model: nn.Module, decoder: nn.Module, output, hidden: Tensor, previous: Tensor, targets: Tensor, backend: str
) -> Tensor:
    """NLL of the token behind each of N hidden states, which are put through the model's own head in blocks.

    Args:
        model: a Hugging Face causal LM.
        decoder: its decoder.
        output: what the decoder returned.
        hidden: the decoder's last hidden states [1, N, width].
        previous: ids of the tokens at those states [1, N].
        targets: ids of the tokens behind them [N].
        backend: the implementation of the operator, resolved.

    Returns:
        float32 [N], in nats.
    """
    block = max(1, LOGITS_IN_MEMORY // model.get_input_embeddings().num_embeddings)
    parts = []
    for start in range(0, hidden.shape[1], block):
        piece = copy.copy(output)
        piece.last_hidden_state = hidden[:, start : start + block]
        with _returning(decoder, piece):
            # The model's own forward pass applies its head, its scale and its soft cap, whatever they are.
            logits = model(input_ids=previous[:, start : start + block], use_cache=False).logits[0]
        target = targets[start : start + block].to(logits.device)
        parts.append(ops.token_nll(logits, target, backend=backend))
    return torch.cat(parts)


@contextlib.contextmanager
def _returning(decoder: nn.Module, output) -> Iterator[None]:
    """Make the decoder return `output` during the block, and compute nothing."""
    compiled = decoder.__dict__.pop("_compiled_call_impl", None)  # torch.compile sets it
    try:
        with replaced_forwards([(decoder, lambda *args, **kwargs: output)]):
            yield
    finally:
        if compiled is not None:
            decoder._compiled_call_impl = compiled


def likelihood_measures(nll: float, tokens: int, text_bytes: int) -> dict[str, float]:
    """The three measures of the likelihood of one text.

    Args:
        nll: summed over tokens, in nats.
        tokens: number of predicted tokens.
        text_bytes: number of UTF-8 bytes that the predicted tokens cover.

    Returns:
        nll (mean per token), ppl = exp(nll), and bits_per_byte, which compares models with different tokenizers.
    """
    mean = nll / tokens
    return {"nll": mean, "ppl": math.exp(mean), "bits_per_byte": nll / math.log(2) / text_bytes}
