"""Sentence embeddings: the hidden states after every decoder layer, pooled over a sentence (section 3.3.2)."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.decoder import decoder_of, input_device
from lape.model.ffn import find_ffn

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
    """One vector per layer and sentence.

    The hidden state is the residual stream after a layer, before the decoder's last norm, in all L layers. (The last
    entry of transformers' `hidden_states` comes after that norm.) BOS is read but not pooled. It is the same in every
    sentence, and its hidden state is an outlier, in Gemma 3 270M 2 to 36 times as long as that of another token. It
    would draw all similarities to 1.

    Sentences of similar length share a batch, padded on the right. The batch that a sentence is in changes its vectors
    by rounding alone.

    Args:
        model: a Hugging Face causal LM.
        sentences: token ids of each of N sentences, without BOS.
        bos: id of the token that goes before every sentence; None for no such token.
        pooling: "mean" of the hidden states of the sentence's tokens, in float32 whatever the model's dtype is; or
            "last", the hidden state of the last token.
        batch_size: sentences per forward pass.
        on_batch: called with the number of tokens of each batch, BOS left out, for progress.

    Returns:
        float32 [L, N, d].

    Raises:
        LapeError: a sentence has no token, or a hidden state is not finite.
    """
    start, device = int(bos is not None), input_device(model)
    decoder, layers = decoder_of(model), find_ffn(model).layers
    parts: list[list[np.ndarray]] = [[] for _ in layers]
    order: list[int] = []

    def see(layer: int, hidden: Tensor) -> None:
        parts[layer].append(_pool(hidden, pooled))

    with hidden_states_hooked(decoder, dict(enumerate(layers)), see):
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
def hidden_states_hooked(
    decoder: nn.Module, layers: Mapping[int, nn.Module], edit: Callable[[int, Tensor], Tensor | None]
) -> Iterator[None]:
    """During the block, call edit(layer, hidden state [B, T, d]) after some layers of the decoder, run uncompiled.

    What it returns takes the place of the hidden state, unless it is None.
    """

    def hook(layer: int) -> Callable:
        def call(module, inputs, output):
            # Some versions and architectures return a tuple whose first member is the hidden state.
            edited = edit(layer, output[0] if isinstance(output, tuple) else output)
            return edited if edited is None or not isinstance(output, tuple) else (edited, *output[1:])

        return call

    with contextlib.ExitStack() as stack:
        stack.enter_context(uncompiled(decoder))
        for layer, module in layers.items():
            stack.callback(module.register_forward_hook(hook(layer)).remove)
        yield


@contextlib.contextmanager
def uncompiled(decoder: nn.Module) -> Iterator[None]:
    """During the block, run the decoder without torch.compile, which would trace hooks."""
    compiled = decoder.__dict__.pop("_compiled_call_impl", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder._compiled_call_impl = compiled


def batches_by_length(
    sentences: Sequence[Sequence[int]], batch_size: int, bos: int | None
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield batches of sentences of similar length, the longest first: with too little memory a run fails at once.

    Yields:
        the numbers of B sentences; their token ids int64 [B, T] with BOS in front, padded with zeros on the right; and
        their lengths [B], BOS included.

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
    """Mean of the hidden states over the positions that the mask `pooled` [B, T] marks, float32 [B, d]."""
    weights = pooled.to(hidden.device, torch.float32)
    total = torch.einsum("btd,bt->bd", hidden.float(), weights)
    return (total / weights.sum(dim=1, keepdim=True)).cpu().numpy()
