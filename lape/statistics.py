"""Activation statistics: how often, and how strongly, every neuron fires (Tang et al. 2024, Eq. 4).

One forward pass over a language's tokens yields, per layer and neuron, the number of tokens at which the
activation exceeds zero and the activation's sum. Every position counts, so the denominator of an activation
probability is exactly the number of tokens.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lape import ops
from lape.artifact import writing
from lape.errors import LapeError
from lape.ffn import find_ffn, forward_hooks


@dataclass(frozen=True)
class ActivationStatistics:
    """Sums over tokens; two of them add up.

    Attributes:
        count: int64 [L, I], tokens at which the activation is above zero.
        total: float64 [L, I], sum of the activation.
        tokens: tokens that were seen, the denominator.
    """

    count: np.ndarray
    total: np.ndarray
    tokens: int

    def __add__(self, other: "ActivationStatistics") -> "ActivationStatistics":
        return ActivationStatistics(self.count + other.count, self.total + other.total, self.tokens + other.tokens)

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> "ActivationStatistics":
        """Statistics over no token, for L layers of I neurons."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float64), 0)

    def save(self, path: str | Path) -> None:
        """Write as an uncompressed npz, atomically; the same statistics give the same bytes."""
        with writing(path) as temporary:
            np.savez(temporary, count=self.count, total=self.total, tokens=np.int64(self.tokens))

    @classmethod
    def load(cls, path: str | Path) -> "ActivationStatistics":
        """Read what `save` wrote.

        Raises:
            LapeError: missing, or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["count"], arrays["total"], int(arrays["tokens"]))
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the statistics step") from error
        except Exception as error:  # a truncated or foreign file fails in many ways
            raise LapeError(f"{path}: holds no activation statistics; delete it and run again") from error


class ActivationRecorder:
    """Counts on the model's devices while `record` is active; `statistics` reads them."""

    def __init__(self, layers: int, neurons: int):
        self._shape = (layers, neurons)
        self._sums: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._rows = [0] * layers

    def _add(self, layer: int, activation: Tensor, backend: str) -> None:
        neurons = self._shape[1]
        if activation.shape[-1] != neurons:
            raise LapeError(f"layer {layer}: {activation.shape[-1]} activations where {neurons} neurons are expected")
        if self._sums[layer] is None:
            device = activation.device
            count = torch.zeros(neurons, dtype=torch.int64, device=device)
            total = torch.zeros(neurons, dtype=torch.float64, device=device)
            self._sums[layer] = (count, total)
        ops.activation_stats(activation, *self._sums[layer], backend=backend)
        self._rows[layer] += activation.numel() // neurons

    def statistics(self, tokens: int) -> ActivationStatistics:
        """What was recorded, checked against the number of tokens that were fed.

        Raises:
            LapeError: a layer saw another number of tokens (its hook did not fire), or an activation was NaN
                or infinite.
        """
        for layer, rows in enumerate(self._rows):
            if rows != tokens:
                raise LapeError(
                    f"layer {layer}: its activation was seen at {rows} of {tokens} tokens; the model "
                    "bypasses its activation module; load it without fused kernels"
                )
        if tokens == 0:
            return ActivationStatistics.zeros(self._shape)
        count = np.stack([count.cpu().numpy() for count, _ in self._sums])
        total = np.stack([total.cpu().numpy() for _, total in self._sums])
        broken = np.flatnonzero(~np.isfinite(total).all(axis=1))
        if len(broken):
            raise LapeError(
                f"activations are NaN or infinite in layers {', '.join(map(str, broken))}; "
                "set the model's dtype to float32 or bfloat16, or check its weights"
            )
        return ActivationStatistics(count, total, tokens)


@contextlib.contextmanager
def record(model: nn.Module, backend: str = "extension") -> Iterator[ActivationRecorder]:
    """Record the activation of every FFN neuron during the forward passes inside the block.

    Args:
        model: a Hugging Face causal LM.
        backend: "extension" (C++ or CUDA, by the tensor's device) or "reference" (plain torch).

    Yields:
        the recorder; call its `statistics(tokens)` after the passes.

    Raises:
        LapeError: the architecture is not known, or the extension is not built.
    """
    ffn = find_ffn(model)
    recorder = ActivationRecorder(*ffn.shape)

    def hook(layer: int) -> Callable:
        return lambda module, inputs, output: recorder._add(layer, output, backend)

    with forward_hooks((module, hook(layer)) for layer, module in enumerate(ffn.activations)):
        yield recorder


@torch.inference_mode()
def record_statistics(
    model: nn.Module,
    batches: Iterable[Tensor | np.ndarray],
    backend: str = "extension",
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> ActivationStatistics:
    """Activation statistics of a model over batches of tokens. The LM head is not computed.

    Args:
        model: a Hugging Face causal LM.
        batches: integers [B, T], token ids without padding: tensors, arrays or nested lists.
        backend: see `record`.
        on_batch: called with each batch's number of tokens, for progress.

    Raises:
        LapeError: see `record` and `ActivationRecorder.statistics`.
    """
    decoder = model.get_decoder()
    device = model.get_input_embeddings().weight.device
    tokens = 0
    with record(model, backend) as recorder:
        for batch in batches:
            ids = torch.as_tensor(batch, device=device)
            decoder(input_ids=ids, use_cache=False)
            tokens += ids.numel()
            on_batch(ids.numel())
    return recorder.statistics(tokens)


def shard_batches(chunks: int, batch_size: int, shards: int) -> list[list[slice]]:
    """Cut N chunks into batches, and the batches into shards of nearly equal size.

    Batches do not depend on the number of shards, so that any number of shards runs the same forward passes
    and adds up to the same integers.

    Returns:
        per shard, the slices of chunks that form its batches; a shard may be empty.
    """
    batches = [slice(start, min(start + batch_size, chunks)) for start in range(0, chunks, batch_size)]
    bounds = [len(batches) * shard // shards for shard in range(shards + 1)]
    return [batches[first:last] for first, last in pairwise(bounds)]


def token_batches(chunks: np.ndarray, slices: Iterable[slice]) -> Iterator[Tensor]:
    """Batches int64 [B, T] from memory-mapped chunks int32 [N, T]."""
    for part in slices:
        yield torch.from_numpy(chunks[part].astype(np.int64))
