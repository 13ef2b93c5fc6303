"""Sampling documents and packing their tokens into chunks (the paper's section 2.2, "In implementation").

As in the released code, sampled documents are tokenised and joined into one stream, the stream is cut into
equal chunks and the tail is dropped. What that code leaves to the checkpoint (the chunk length) or to the
reader (sampling, BOS, which documents are kept for evaluation) is a parameter here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.progress import progress

_BATCH = 64  # documents tokenised at once


@dataclass(frozen=True)
class PackedTokens:
    """Chunks of one split of one language.

    Attributes:
        ids: int32 [N, T], the chunks; BOS first in each where asked for.
        predicted_bytes: int64 [N], UTF-8 bytes of the text that a chunk's predicted tokens cover: all its
            tokens but the first position.
        documents: documents that were sampled; the last one may lie behind the last whole chunk.
        documents_in_split: documents that the split holds in all.
        tokens_dropped: tokens of these documents past the last whole chunk.
    """

    ids: np.ndarray
    predicted_bytes: np.ndarray
    documents: int
    documents_in_split: int
    tokens_dropped: int


def split_rows(ids: Sequence[str], split: str, valid_share: float, seed: int) -> np.ndarray:
    """The rows of one split, in the order in which they are sampled.

    Documents are ordered by a hash of seed and id, so that neither the corpus's order nor its size matters
    to which of two documents comes first; the first `valid_share` of them are the valid split, the rest train.

    Args:
        ids: document ids, in the corpus's order.
        split: "train" or "valid".
        valid_share: share of the documents kept for evaluation.
        seed: any integer.

    Returns:
        int64 [documents in the split], row numbers.
    """
    keys = [hashlib.sha256(f"{seed}:{document}".encode()).digest() for document in ids]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    valid = round(len(order) * valid_share)
    return order[:valid] if split == "valid" else order[valid:]


def pack(
    corpus: pa.Table,
    tokenizer: Tokenizer,
    *,
    split: str,
    budget: int,
    chunk_length: int,
    bos: int | None,
    seed: int,
    valid_share: float,
    allow_fewer: bool,
    excerpts: bool,
    vocab_size: int,
    label: str,
) -> PackedTokens:
    """Sample whole documents until the budget is met, and pack them into chunks.

    Args:
        corpus: columns id and text.
        tokenizer: of the tokenizers library; `backend_tokenizer` of a fast tokenizer of transformers.
        split: "train" or "valid"; disjoint by document.
        budget: positions wanted; rounded down to whole chunks.
        chunk_length: T, positions in a chunk, BOS included.
        bos: id of the token that starts every chunk, None for none.
        seed, valid_share: see `split_rows`.
        allow_fewer: use what there is when the split has fewer tokens than wanted.
        excerpts: take of a document, from a random place, no more than fills the chunk, in place of the whole of it:
            chunks of one text are alike, and an interval over chunks takes them for independent.
        vocab_size: rows of the model's embedding.
        label: how messages name the text, such as "fr train".

    Raises:
        LapeError: too few tokens, a budget below one chunk, or ids outside the model's vocabulary.
    """
    content = chunk_length - (bos is not None)  # tokens of text in a chunk
    wanted = budget // chunk_length * content
    if not wanted:
        raise LapeError(f"{label}: {budget} tokens are less than one chunk; raise the budget or lower chunk_length")

    rows = split_rows(corpus["id"].to_pylist(), split, valid_share, seed)
    longest = content if excerpts else None
    ids, lengths, documents = _tokenize(corpus["text"], rows, tokenizer, wanted, label, longest, seed)
    if len(ids) and ids.max() >= vocab_size:
        raise LapeError(
            f"{label}: the tokenizer gives id {ids.max()}, the model has {vocab_size} embeddings; "
            "use the tokenizer that belongs to the model"
        )
    chunks = min(wanted, len(ids)) // content
    if len(ids) < wanted and not (allow_fewer and chunks):
        raise LapeError(
            f"{label}: {wanted} tokens of text are wanted and the split's {len(rows)} documents hold {len(ids)}; "
            "lower the budget, add text, or set tokens.allow_fewer to true to use what there is"
        )
    used = chunks * content
    packed = ids[:used].reshape(chunks, content)
    sizes = lengths[:used].reshape(chunks, content)
    if bos is not None:
        packed = np.insert(packed, 0, bos, axis=1)
    else:
        sizes = sizes[:, 1:]  # nothing predicts a chunk's first token
    return PackedTokens(packed, sizes.sum(axis=1), documents, len(rows), len(ids) - used)


def _tokenize(
    texts: pa.ChunkedArray,
    rows: np.ndarray,
    tokenizer: Tokenizer,
    wanted: int,
    label: str,
    longest: int | None,
    seed: int,
):
    """Token ids and the bytes each covers, of documents, or excerpts, in the order of `rows`, until `wanted`."""
    places = np.random.default_rng(seed)
    ids: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    total = documents = 0
    with progress(wanted, f"tokens {label}") as bar:
        for start in range(0, len(rows), _BATCH):
            batch = texts.take(pa.array(rows[start : start + _BATCH])).to_pylist()
            for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
                if total >= wanted:
                    break
                # What is left of the chunk: no document is in two.
                size = min(len(encoding.ids), longest - total % longest if longest else len(encoding.ids))
                start = int(places.integers(len(encoding.ids) - size + 1)) if longest else 0
                ids.append(np.array(encoding.ids[start : start + size], dtype=np.int32))
                lengths.append(token_bytes(text, encoding.offsets)[start : start + size])
                total += size
                documents += 1
                bar.update(min(size, wanted - bar.n))
            if total >= wanted:
                break
    empty = np.empty(0, np.int32)
    return np.concatenate([empty, *ids]), np.concatenate([empty, *lengths]).astype(np.int64), documents


def token_bytes(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """UTF-8 bytes of a document that each of its tokens covers; they add up to the document's bytes.

    Text that no token's span covers (a space that the tokenizer strips) goes to the token after it, the
    document's end to its last token. Of several byte tokens of one character, the first gets its bytes.

    Args:
        text: the document.
        offsets: span of each token, in characters.

    Returns:
        int64 [tokens].
    """
    if not len(offsets):
        return np.zeros(0, np.int64)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    position = np.concatenate([[0], np.cumsum(widths)])
    ends = position[np.maximum.accumulate([end for _, end in offsets])]
    ends[-1] = position[-1]
    return np.diff(ends, prepend=0)
