"""Sentence embeddings: the hidden states behind every decoder layer, pooled over a sentence (section 3.3.2)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.ffn import find_ffn, input_device

POOLINGS = ("mean", "last")


@torch.inference_mode()
def sentence_embeddings(
    model: nn.Module,
    sentences: Sequence[Sequence[int]],
    *,
    bos: int | None = None,
    pooling: str = "mean",
    batch_size: int = 16,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """One vector a layer and sentence.

    The hidden state is the residual stream behind a layer, before the decoder's last norm, in all L layers alike: what
    transformers returns as `hidden_states` has that norm in its last entry. BOS is read and not pooled: it is the
    same in every sentence, and its hidden state is an outlier (in Gemma 3 270M 2 to 36 times as long as another
    token's), which would draw all similarities to 1.

    Sentences of like length share a batch, padded on the right; the batch changes nothing but the rounding.

    Args:
        model: a Hugging Face causal LM.
        sentences: token ids of each of N sentences, without BOS.
        bos: id of the token that goes before every sentence; None for none.
        pooling: "mean" over the sentence's tokens, in float32 whatever the model's dtype, or the "last" token's.
        batch_size: sentences a forward pass.
        on_batch: called with each batch's number of tokens, BOS left out, for progress.

    Returns:
        float32 [L, N, d].

    Raises:
        LapeError: a sentence has no token, or a hidden state is not finite.
    """
    start, device = int(bos is not None), input_device(model)
    decoder, layers = model.get_decoder(), find_ffn(model).layers
    parts: list[list[np.ndarray]] = [[] for _ in layers]
    order: list[int] = []

    def see(layer: int, hidden: Tensor) -> None:
        parts[layer].append(_pool(hidden, pooled))

    with _seeing(decoder, layers, see):
        for places, ids, lengths in batches_by_length(sentences, batch_size, bos):
            order += places
            position = torch.arange(ids.shape[1])
            read = position < lengths[:, None]
            pooled = read & (position >= start) if pooling == "mean" else position == lengths[:, None] - 1
            decoder(input_ids=ids.to(device), attention_mask=read.long().to(device), use_cache=False)
            on_batch(int(lengths.sum()) - start * len(lengths))
    result = np.stack([np.concatenate(part) for part in parts])[:, np.argsort(order)]
    if not np.isfinite(result).all():
        raise LapeError("a hidden state is NaN or infinite; set the model's dtype to float32 or bfloat16")
    return result


@contextlib.contextmanager
def _seeing(decoder: nn.Module, layers: Sequence[nn.Module], see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call see(layer, hidden state [B, T, d]) behind every decoder layer for the time of a block, uncompiled."""

    def hook(layer: int) -> Callable:
        # Some versions and architectures return a tuple, the hidden state first.
        return lambda module, inputs, output: see(layer, output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(hook(layer)) for layer, module in enumerate(layers)]
    try:
        with uncompiled(decoder):
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def uncompiled(decoder: nn.Module) -> Iterator[None]:
    """The decoder as it is without torch.compile, which would trace hooks, for the time of a block."""
    compiled = decoder.__dict__.pop("_compiled_call_impl", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder._compiled_call_impl = compiled


def batches_by_length(
    sentences: Sequence[Sequence[int]], batch_size: int, bos: int | None
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of sentences of like length, the longest first: what does not fit the memory fails at once.

    Yields:
        which sentences, B of them; their token ids int64 [B, T] with BOS in front, padded with zeros on the right; and
        how long they are [B], BOS included.

    Raises:
        LapeError: a sentence has no token.
    """
    for place, sentence in enumerate(sentences):
        if not len(sentence):
            raise LapeError(f"sentence {place}: has no token; leave it out of all languages")
    front = [] if bos is None else [bos]
    order = sorted(range(len(sentences)), key=lambda place: -len(sentences[place]))
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        rows = [torch.tensor([*front, *sentences[place]]) for place in places]
        yield places, nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def _pool(hidden: Tensor, pooled: Tensor) -> np.ndarray:
    """Mean over the pooled positions [B, T], float32 [B, d]."""
    weights = pooled.to(hidden.device, torch.float32)
    total = torch.einsum("btd,bt->bd", hidden.float(), weights)
    return (total / weights.sum(dim=1, keepdim=True)).cpu().numpy()
