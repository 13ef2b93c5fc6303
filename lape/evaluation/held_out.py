"""The text that perplexity is measured on: one language's chunks of valid tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lape.artifacts.files import checked, read_array, read_json


class HeldOutText(NamedTuple):
    """Held-out text of one language.

    Attributes:
        language: its code.
        chunks: int32 [N, T], token ids.
        sizes: int64 [N], UTF-8 bytes that the predicted tokens of each chunk cover.
    """

    language: str
    chunks: np.ndarray
    sizes: np.ndarray

    @property
    def predicted(self) -> int:
        """Predicted tokens of a chunk."""
        return self.chunks.shape[1] - 1

    def rows(self, nll: np.ndarray) -> Iterator[dict]:
        """The row of every chunk in a table, from the chunks' NLL, float64 [N]: chunk, tokens, nll and bytes."""
        for chunk, (value, size) in enumerate(zip(nll, self.sizes, strict=True)):
            yield {"chunk": chunk, "tokens": self.predicted, "nll": value, "bytes": size}

    @classmethod
    def load(cls, path: Path) -> "HeldOutText":
        """Read a split of tokens by its header.

        Raises:
            LapeError: a file is missing or damaged.
        """
        header = read_json(path, "tokens")
        chunks, sizes = (checked(path, header, suffix) for suffix in (".npy", ".bytes.npy"))
        return cls(header["language"], read_array(chunks, mmap=True), read_array(sizes))


def token_files(header: Path) -> list[Path]:
    """The header of a split of tokens, and the arrays beside it."""
    return [header, *(header.with_suffix(suffix) for suffix in (".npy", ".bytes.npy"))]
