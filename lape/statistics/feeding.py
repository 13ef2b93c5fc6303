"""What a user has, made into batches of token ids that can be counted: strings, a tokenizer's output, arrays, lists."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor, nn

from lape.errors import LapeError
from lape.model.batches import filling_batch_size
from lape.model.decoder import context_length, input_device
from lape.model.tokenizer import as_text, begins_with
from lape.statistics.recording import counting
from lape.statistics.sums import ActivationStatistics

# Positions of a chunk, as in the default configuration (tokens.chunk_length).
LENGTH = 512
_TEXTS = 64  # strings that are tokenised at once
_PASS = "pass strings with a tokenizer, a tokenizer's output, or token ids [T] or [B, T]"


def batches(
    tokenizer: object,
    texts: str | Iterable[str],
    *,
    tokens: int | None = None,
    length: int = LENGTH,
    batch_size: int = 4,
    bos: bool | None = None,
) -> Iterator[Tensor]:
    """Pack texts into chunks as the workflow does, and yield batches of chunks for `record_statistics`.

    The texts are tokenised without special tokens and joined into one stream, which is cut into chunks of `length`
    positions. The workflow drops what is left behind the last whole chunk; here it is a last, shorter chunk. Text is
    text: where it contains "</s>", its characters become tokens like any others.

    Args:
        tokenizer: the model's fast tokenizer, of transformers or of the library tokenizers.
        texts: one string, or a list, an iterator or a dataset's column of strings. It is read as far as needed,
            64 texts at a time.
        tokens: positions after which the stream ends, BOS included; None for all texts.
        length: positions of a chunk, BOS included.
        batch_size: chunks of a batch.
        bos: begin every chunk with the token that the tokenizer puts before a text. None: where it puts one.

    Returns:
        an iterator of int64 [B, T].

    Raises:
        LapeError: a setting leaves no text, a text is no string, or the tokenizer is not fast or lacks a BOS that is
            wanted.
    """
    with as_text(tokenizer) as encoder:
        begin = None if bos is False else begins_with(encoder)
    if bos and begin is None:
        raise LapeError("bos: the tokenizer puts no token before a text; leave bos out")
    content = length - (begin is not None)
    for name, value in (("length", content), ("batch_size", batch_size)):
        if value < 1:
            raise LapeError(f"{name}: leaves no token of text; raise it")
    chunks = (ids if begin is None else [begin, *ids] for ids in _cut(encoded(tokenizer, texts), content))
    return _limited(_joined(chunks, length, batch_size), tokens)


def record_statistics(
    model: nn.Module,
    texts: object,
    tokenizer: object | None = None,
    *,
    tokens: int | None = None,
    backend: str = "auto",
    on_batch: Callable[[int], None] = lambda tokens: None,
    **settings,
) -> ActivationStatistics:
    """Activation statistics of a model on text (Tang et al. 2024, Eq. 4). Nothing behind the last activation is run.

    Args:
        model: a Hugging Face causal LM.
        texts: what the model reads, one or an iterable of:

            - strings, with a tokenizer; they are packed by `batches`, so that their BOS is the workflow's;
            - outputs of a tokenizer, such as those of a DataLoader: what their attention mask leaves out is not fed and
              not counted, on the left and on the right;
            - token ids without padding, as tensors, arrays or lists of integers, [T] or [B, T].
        tokenizer: the model's fast tokenizer; for strings alone.
        tokens: positions after which counting ends; None for all. The last batch is cut there.
        on_batch: called with the number of tokens of each batch, for progress. A GPU may still be at work on them.
        backend, **settings: see `counting`.

    Raises:
        LapeError: a text is none of these or has an id that the model has no embedding of, there is no text at all, or
            see `record` and `ActivationRecorder.statistics`.
    """
    vocabulary = getattr(model.get_input_embeddings(), "num_embeddings", None)
    counted = 0

    def checked() -> Iterator[Tensor]:
        nonlocal counted
        for batch in _limited(_fed(model, texts, tokenizer), tokens):
            if vocabulary and batch.device.type == "cpu" and not (batch.min() >= 0 and batch.max() < vocabulary):
                raise LapeError(
                    f"texts: have the token id {batch.max() if batch.min() >= 0 else batch.min()}, the model has "
                    f"embeddings of 0 to {vocabulary - 1}; use the tokenizer that belongs to the model"
                )
            counted += batch.numel()
            yield batch

    with counting(model, backend, **settings) as count:
        statistics = count(checked(), on_batch)
    if not counted:
        raise LapeError(f"texts: hold no token; {_PASS}")
    return statistics


def _fed(model: nn.Module, texts: object, tokenizer: object | None) -> Iterator[Tensor]:
    """Batches int64 [B, T] of what a user passed as texts."""
    items = iter([texts] if _is_one(texts) else _iterable(texts))
    start = list(islice(items, 1))
    items = chain(start, items)
    if not (start and isinstance(start[0], str)):
        if tokenizer is not None:
            raise LapeError("tokenizer: is for strings, the texts have token ids already; leave it out")
        yield from (batch for item in items for batch in _batches_of(item))
        return
    if tokenizer is None:
        raise LapeError("texts: are strings; pass the model's tokenizer after them")
    length = min(LENGTH, context_length(model) or LENGTH)
    size = filling_batch_size(length, input_device(model), at_most=1024)
    yield from batches(tokenizer, items, length=length, batch_size=size)


def _is_one(texts: object) -> bool:
    """Whether the texts are one string, one output of a tokenizer, or the ids of one batch."""
    if isinstance(texts, str | Mapping):
        return True
    if isinstance(texts, Tensor | np.ndarray):
        return texts.ndim < 3 and _is_integer(texts)
    return isinstance(texts, list | tuple) and bool(texts) and isinstance(texts[0], int | np.integer)


def _is_integer(ids: Tensor | np.ndarray) -> bool:
    if isinstance(ids, Tensor):
        return not (ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype is torch.bool)
    return ids.dtype.kind in "iu"


def _iterable(texts: object) -> Iterable:
    try:
        return iter(texts)
    except TypeError as error:
        raise LapeError(f"texts: a {type(texts).__name__} cannot be counted; {_PASS}") from error


def _batches_of(item: object) -> Iterator[Tensor]:
    """Batches int64 [B, T] of one output of a tokenizer or of the ids of one text or batch."""
    mask = None
    if isinstance(item, Mapping):
        if "input_ids" not in item:
            known = ", ".join(map(str, item))
            raise LapeError(f"texts: a {type(item).__name__} has no input_ids, but {known}; pass its text or its ids")
        item, mask = item["input_ids"], item.get("attention_mask")
    if mask is None and isinstance(item, Tensor) and item.ndim == 2 and _is_integer(item):
        yield from [item.long()] if item.numel() else []
        return
    rows = _rows(item)
    if mask is not None:
        rows = _unpadded(rows, _rows(mask.long() if isinstance(mask, Tensor) else mask))
    alike: dict[int, list[Tensor]] = {}
    for row in rows:
        if len(row):
            alike.setdefault(len(row), []).append(row)
    yield from map(torch.stack, alike.values())


def _rows(ids: object) -> list[Tensor]:
    """The rows of ids [T] or [B, T], each int64; rows of lists may differ in length."""
    if isinstance(ids, list | tuple) and ids and not isinstance(ids[0], int | np.integer):
        return [row for part in ids for row in _rows(part)]
    if not isinstance(ids, Tensor | np.ndarray | list | tuple):
        raise LapeError(f"texts: a {type(ids).__name__} cannot be counted; {_PASS}")
    array = ids if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim and not len(array):
        return []
    if array.ndim not in (1, 2) or not _is_integer(array):
        shape = f"{array.dtype} [{', '.join(map(str, array.shape))}]"
        raise LapeError(f"texts: {shape} are no token ids; {_PASS}")
    array = torch.as_tensor(array.astype(np.int64) if isinstance(array, np.ndarray) else array).long()
    return list(array if array.ndim == 2 else array[None])


def _unpadded(rows: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """Rows of ids without their padding."""
    if [row.shape for row in rows] != [mask.shape for mask in masks]:
        raise LapeError("texts: input_ids and attention_mask differ in shape; pass a tokenizer's output as it is")
    kept = []
    for row, mask in zip(rows, masks, strict=True):
        places = mask.nonzero()[:, 0]
        if len(places) and places[-1] - places[0] + 1 != len(places):
            raise LapeError("texts: an attention mask has a hole; pass rows that are padded on one side or both")
        kept.append(row[places.to(row.device)])
    return kept


def encoded(tokenizer: object, texts: str | Iterable[str]) -> Iterator[list[int]]:
    """The token ids of each text, without special tokens; text is text, as in `batches`.

    Raises:
        LapeError: a text is no string, or the tokenizer is not fast.
    """
    texts = iter([texts] if isinstance(texts, str) else texts)
    while batch := list(islice(texts, _TEXTS)):
        for text in batch:
            if not isinstance(text, str):
                raise LapeError(f"texts: a {type(text).__name__} is among the strings; pass strings alone")
        with as_text(tokenizer) as encoder:
            encodings = encoder.encode_batch(batch, add_special_tokens=False)
        yield from (encoding.ids for encoding in encodings)


def _cut(stream: Iterable[list[int]], size: int) -> Iterator[list[int]]:
    """Cut a stream into chunks of some tokens; the last one may be shorter."""
    waiting: list[int] = []
    for ids in stream:
        waiting += ids
        whole = len(waiting) // size * size
        yield from (waiting[start : start + size] for start in range(0, whole, size))
        waiting = waiting[whole:]
    if waiting:
        yield waiting


def _joined(chunks: Iterable[list[int]], length: int, size: int) -> Iterator[Tensor]:
    """Batches of chunks; a shorter chunk at the end is a batch of its own."""
    waiting: list[list[int]] = []
    for chunk in chunks:
        if waiting and (len(waiting) == size or len(chunk) < length):
            yield torch.tensor(waiting)
            waiting = []
        waiting.append(chunk)
    if waiting:
        yield torch.tensor(waiting)


def _limited(found: Iterable[Tensor], tokens: int | None) -> Iterator[Tensor]:
    """Batches until they hold some number of tokens; the last batch is cut. None: all batches."""
    if tokens is not None and tokens < 1:
        raise LapeError(f"tokens: {tokens} leaves no token; raise it")
    for batch in found:
        if tokens is not None and tokens <= batch.numel():
            rows, rest = divmod(tokens, batch.shape[1])
            yield from (part for part in (batch[:rows], batch[rows : rows + 1, :rest]) if part.numel())
            return
        yield batch
        tokens = tokens and tokens - batch.numel()
