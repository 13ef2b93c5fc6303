"""The mean hidden state of a text behind every layer."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.decoder import decoder_of, input_device
from lape.model.embeddings import hidden_states_hooked
from lape.model.ffn import find_ffn


@torch.inference_mode()
def hidden_means(
    model: nn.Module,
    batches: Iterable[Tensor],
    skip_first: int = 0,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """The mean of the residual stream behind every layer, before the decoder's last norm.

    Args:
        model: a Hugging Face causal LM.
        batches: token ids, int64 [B, T] each, without padding.
        skip_first: positions at the start of every row that are left out: 1 for BOS, whose hidden state is an outlier.
        on_batch: called with the number of tokens of each batch, for progress.

    Returns:
        float64 [L, d].

    Raises:
        LapeError: there is no position, or a hidden state is not finite.
    """
    decoder, layers, device = decoder_of(model), find_ffn(model).layers, input_device(model)
    sums: list[Tensor | float] = [0.0] * len(layers)
    number = 0

    def see(layer: int, hidden: Tensor) -> None:
        sums[layer] = sums[layer] + hidden[:, skip_first:].double().sum((0, 1))

    with hidden_states_hooked(decoder, dict(enumerate(layers)), see):
        for ids in batches:
            decoder(input_ids=ids.to(device), use_cache=False)
            number += ids.shape[0] * max(ids.shape[1] - skip_first, 0)
            on_batch(ids.numel())
    if not number:
        raise LapeError("hidden means: the text has no position; pass chunks with some text")
    means = np.stack([(total / number).cpu().numpy() for total in sums])
    if not np.isfinite(means).all():
        raise LapeError("a hidden state is NaN or infinite; set the model's dtype to float32 or bfloat16")
    return means
