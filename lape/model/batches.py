"""Cut the chunks of a language into the batches of forward passes, and the batches into shards."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.machine import ranks
from lape.machine.memory import free_memory, peak_memory
from lape.model.decoder import decoder_of, input_device

# Tokens of one pass, by kind of device. So many fill the device and still fit a processor's cache. Larger passes are
# not faster.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 32768}


def shard_batches(chunks: int, batch_size: int, shards: int) -> list[list[slice]]:
    """Cut N chunks into batches, and the batches into shards of nearly equal size.

    Batches do not depend on the number of shards. Any number of shards therefore runs the same forward passes, and adds
    up to the same bits.

    Returns:
        one list per shard: the slices of chunks that are its batches. A shard may be empty.
    """
    batches = [slice(start, min(start + batch_size, chunks)) for start in range(0, chunks, batch_size)]
    bounds = [len(batches) * shard // shards for shard in range(shards + 1)]
    return [batches[first:last] for first, last in pairwise(bounds)]


def passes(batches: Iterable[slice], size: int) -> Iterator[slice]:
    """Cut batches into forward passes of no more than `size` chunks."""
    for batch in batches:
        for start in range(batch.start, batch.stop, size):
            yield slice(start, min(start + size, batch.stop))


def token_batches(chunks: np.ndarray, slices: Iterable[slice], pin: bool = False) -> Iterator[Tensor]:
    """Yield batches int64 [B, T] of memory-mapped chunks int32 [N, T].

    Args:
        chunks: token ids.
        slices: see `shard_batches`.
        pin: put batches into pinned memory, from which a GPU copies while it computes.
    """
    for part in slices:
        batch = torch.from_numpy(chunks[part].astype(np.int64))
        yield batch.pin_memory() if pin else batch


def filling_batch_size(chunk_length: int, device: torch.device, at_most: int) -> int:
    """The largest power of two of chunks that does not exceed the tokens of a pass, whatever memory the device has."""
    wanted = TOKENS_PER_PASS.get(device.type, 2048) // chunk_length
    return 1 << (max(1, min(wanted, at_most)).bit_length() - 1)


@torch.inference_mode()
def fitting_batch_size(model: nn.Module, chunk_length: int, at_most: int, memory: float | None = None) -> int:
    """The largest power of two of chunks whose activations fit the memory.

    One chunk is run, and its peak memory tells how much several chunks take. Ranks that share a model take the smallest
    size of all ranks.

    Args:
        model: a Hugging Face causal LM, on its device.
        chunk_length: T, number of tokens in a chunk.
        at_most: largest number of chunks, which fills a pass.
        memory: GiB that the activations of a pass may take; None for half of the free memory.

    Raises:
        LapeError: one chunk does not fit.
    """
    device = input_device(model)
    decoder = decoder_of(model)
    ids = torch.zeros(1, chunk_length, dtype=torch.int64, device=device)
    allowed = free_memory(device) / 2 if memory is None else memory * 2**30
    try:
        decoder(input_ids=ids[:, :1], use_cache=False)  # loads weights that are still in a file into memory
        one = peak_memory(lambda: decoder(input_ids=ids, use_cache=False), device)
    except torch.OutOfMemoryError:
        one = None
    if one is None or one > allowed:
        taken = "more than there is" if one is None else f"{one / 2**30:.3g} GiB"
        raise LapeError(
            f"a chunk of {chunk_length} tokens takes {taken} of the {allowed / 2**30:.3g} GiB that it may; lower "
            "tokens.chunk_length, raise statistics.memory, or spread the model (`device_map: auto`)"
        )
    fitting = max(1, min(at_most, int(allowed // max(one, 1))))
    return 1 << (min(ranks.gathered(fitting)).bit_length() - 1)
