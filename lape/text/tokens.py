"""Sampling documents and packing their tokens into chunks (the paper's section 2.2, "In implementation").

As in the released code, sampled documents are tokenised and joined into one stream. The stream is cut into equal
chunks, and the tail is dropped. The released code takes the chunk length from the checkpoint, and leaves open how
documents are sampled, whether chunks begin with BOS, and which documents are kept for evaluation. Here these are
parameters.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.machine.progress import progress

_BATCH = 64  # documents tokenised at once


@dataclass(frozen=True)
class PackedTokens:
    """What was packed into the chunks of one split of one language.

    Attributes:
        chunks: N, the number of chunks.
        predicted_bytes: int64 [N], UTF-8 bytes of the text that a chunk's predicted tokens cover. The tokens at all
            positions but the first are predicted.
        document_tokens: int64 [D], the tokens that each sampled document gave to the stream, in the stream's order.
            The last document may lie behind the last whole chunk.
        tokens_dropped: number of tokens of the sampled documents behind the last whole chunk.
    """

    chunks: int
    predicted_bytes: np.ndarray
    document_tokens: np.ndarray
    tokens_dropped: int


def split_rows(ids: Sequence[str], split: str, valid_share: float, seed: int, newest: int | None = None) -> np.ndarray:
    """The rows of one split, in the order in which they are sampled.

    Documents are ordered by a hash of seed and id. Which of two documents comes first then depends neither on the
    corpus's order nor on its size. The first `valid_share` of the documents are the valid split, the rest are the train
    split.

    Args:
        ids: document ids, in the corpus's order.
        split: "train" or "valid".
        valid_share: share of the documents kept for evaluation.
        seed: any integer.
        newest: for ids that are integers and grow with time. The valid split is then the documents from this id on, and
            `valid_share` has no effect.

    Returns:
        int64 [documents in the split], row numbers.
    """
    keys = [hashlib.sha256(f"{seed}:{document}".encode()).digest() for document in ids]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    if newest is not None:
        new = np.array([int(ids[row]) >= newest for row in order], dtype=bool)
        return order[new if split == "valid" else ~new]
    valid = round(len(order) * valid_share)
    return order[:valid] if split == "valid" else order[valid:]


def pack(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    output: str | Path,
    *,
    documents: int,
    budget: int,
    chunk_length: int,
    bos: int | None,
    seed: int,
    allow_fewer: bool,
    excerpts: bool,
    vocab_size: int,
    label: str,
) -> PackedTokens:
    """Sample documents until the budget is met, and pack them into chunks, which are written as they fill.

    Args:
        texts: the split's documents, in the order in which they are sampled.
        tokenizer: a tokenizer of the tokenizers library, such as `backend_tokenizer` of transformers' fast tokenizers.
        output: the `.npy` file of the chunks, int32 [N, T].
        documents: number of documents in the split, for messages.
        budget: wanted positions, rounded down to whole chunks.
        chunk_length: T, positions in a chunk, BOS included.
        bos: id of the token that starts every chunk; None for no such token.
        seed: seed of the places from which excerpts are taken.
        allow_fewer: use the tokens that there are, where the split has fewer than wanted.
        excerpts: take from a document no more tokens than fill the chunk, from a random place. Chunks of one document
            are alike, whereas an interval over chunks takes them for independent. False takes whole documents.
        vocab_size: rows of the model's embedding.
        label: how messages name the text, such as "fr train".

    Raises:
        LapeError: too few tokens, a budget below one chunk, or ids outside the model's vocabulary.
    """
    content = chunk_length - (bos is not None)  # tokens of text in a chunk
    wanted = budget // chunk_length * content
    if not wanted:
        raise LapeError(f"{label}: {budget} tokens are less than one chunk; raise the budget or lower chunk_length")

    total, document_tokens = 0, [np.empty(0, np.int64)]
    ids, sizes = np.empty(0, np.int32), np.empty(0, np.int64)  # of the tokens that fill no whole chunk yet
    predicted_bytes = [sizes]
    with ChunkWriter(output, chunk_length) as chunks:
        longest = content if excerpts else None
        for more, lengths in _tokenize(texts, tokenizer, wanted, label, longest, seed):
            if len(more[0]) and more[0].max() >= vocab_size:
                raise LapeError(
                    f"{label}: the tokenizer gives id {more[0].max()}, the model has {vocab_size} embeddings; "
                    "use the tokenizer that belongs to the model"
                )
            total += len(more[0])
            document_tokens.append(lengths)
            ids, sizes = np.concatenate([ids, more[0]]), np.concatenate([sizes, more[1]])
            # Tokens beyond the budget fill no chunk.
            used = min(len(ids), wanted - chunks.number * content) // content * content
            packed, covered = ids[:used].reshape(-1, content), sizes[:used].reshape(-1, content)
            chunks.add(packed if bos is None else np.insert(packed, 0, bos, axis=1))
            # Without BOS nothing predicts a chunk's first token.
            predicted_bytes.append(covered[:, int(bos is None) :].sum(axis=1))
            ids, sizes = ids[used:], sizes[used:]
    if total < wanted and not (allow_fewer and chunks.number):
        found, remedy = f"the split's {documents} documents hold {total}", "lower the budget, add text"
        if excerpts:
            found += ", of each of which one chunk is taken at most"
            remedy = (
                f"lower the budget, name {-(-wanted // content)} documents or more (corpus.files.document parts long "
                ".txt files), take whole documents (tokens.excerpts: false)"
            )
        raise LapeError(
            f"{label}: {budget} tokens{' with BOS' * (bos is not None)} are wanted and {found}; {remedy}, or set "
            "tokens.allow_fewer to true to use what there is"
        )
    return PackedTokens(chunks.number, np.concatenate(predicted_bytes), np.concatenate(document_tokens), len(ids))


def documents_of(places: np.ndarray, document_tokens: np.ndarray, chunk_length: int, bos: bool) -> np.ndarray:
    """The documents of some positions of packed chunks.

    Args:
        places: int64, numbers of the positions, all chunks in a row.
        document_tokens: see `PackedTokens`.
        chunk_length: T, positions in a chunk.
        bos: whether the first position of every chunk is BOS.

    Returns:
        int64 in the shape of `places`: numbers of the sampled documents, from 0; -1 for BOS.
    """
    chunk, position = np.divmod(places, chunk_length)
    in_stream = chunk * (chunk_length - bos) + position - bos
    documents = np.searchsorted(np.cumsum(document_tokens), in_stream, side="right")
    return np.where(position < bos, -1, documents)


class ChunkWriter:
    """Write an .npy file of int32 [N, T] whose N is known only at the end, with the bytes of `numpy.save`.

    Attributes:
        number: N, the number of chunks added so far.
    """

    def __init__(self, path: str | Path, chunk_length: int):
        self.number = 0
        self._path, self._chunk_length = path, chunk_length

    def __enter__(self) -> "ChunkWriter":
        self._file = open(self._path, "wb")
        self._write_shape()
        return self

    def add(self, chunks: np.ndarray) -> None:
        """Append int32 [any number, T]."""
        self._file.write(np.ascontiguousarray(chunks, np.int32).data)
        self.number += len(chunks)

    def __exit__(self, *error) -> None:
        with self._file:
            self._file.seek(0)
            self._write_shape()

    def _write_shape(self) -> None:
        # NumPy pads the header for a first axis that grows. The header has the same length for every N.
        header = {"descr": "<i4", "fortran_order": False, "shape": (self.number, self._chunk_length)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _tokenize(
    texts: Iterable[str], tokenizer: Tokenizer, wanted: int, label: str, longest: int | None, seed: int
) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """Yield batches until `wanted` tokens: ((token ids, bytes that each token covers), tokens of each document)."""
    places = np.random.default_rng(seed)
    texts, total = iter(texts), 0
    with progress(wanted, f"tokens {label}") as bar:
        while total < wanted and (batch := list(islice(texts, _BATCH))):
            ids: list[np.ndarray] = []
            lengths: list[np.ndarray] = []
            for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
                if total >= wanted:
                    break
                # An excerpt is no longer than what is left of the chunk, so that no document is in two chunks.
                size = min(len(encoding.ids), longest - total % longest if longest else len(encoding.ids))
                start = int(places.integers(len(encoding.ids) - size + 1)) if longest else 0
                ids.append(np.array(encoding.ids[start : start + size], dtype=np.int32))
                lengths.append(token_bytes(text, encoding.offsets)[start : start + size])
                total += size
                bar.update(min(size, wanted - bar.n))
            yield (np.concatenate(ids), np.concatenate(lengths)), np.array([len(each) for each in ids], np.int64)


def token_bytes(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """UTF-8 bytes of a document that each of its tokens covers. They add up to the document's bytes.

    Text that no token's span covers, such as a space that the tokenizer strips, counts for the token after it. Text at
    the document's end counts for the last token. Where several byte tokens make one character, the first token gets
    the character's bytes.

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
