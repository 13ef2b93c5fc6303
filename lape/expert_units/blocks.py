"""Responses on disk: one matrix of units by sentences, which is cut into files, each a block of columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from lape.artifacts.files import checked, read_array, read_json, sha256
from lape.errors import LapeError
from lape.model.linear import LinearLayer

BLOCK = 64  # sentences in a block; the last block may have fewer

Column = tuple[str, int, list[int]]  # language, row among its scored sentences, token ids without BOS


def in_columns(pool: Mapping[str, Sequence[tuple[int, str]]], tokenizer: Tokenizer, length: int) -> list[Column]:
    """The sentences in the order of the columns: the longest first, so that a run with too little memory fails at once.

    Args:
        pool: language -> [(row, text)], see `lape.text.sentences.common_pool`.
        tokenizer: tokenizer of the model.
        length: number of tokens at which a sentence is cut.
    """
    columns = [
        (language, row, encoding.ids[:length])
        for language, sentences in pool.items()
        for (row, _), encoding in zip(
            sentences, tokenizer.encode_batch([text for _, text in sentences], add_special_tokens=False), strict=True
        )
    ]
    return sorted(columns, key=lambda column: -len(column[2]))


def column_table(columns: Sequence[Column], bos: bool) -> pd.DataFrame:
    """The table of sentences: one row per column of the responses, in their order.

    Args:
        columns: see `in_columns`.
        bos: whether a BOS token goes before each sentence.

    Returns:
        a frame with the columns block, column (in the block), language, number (the row among the language's scored
        sentences, from 0) and tokens (the number that the mean is over, BOS included).
    """
    return pd.DataFrame(
        [
            (place // BLOCK, place % BLOCK, language, row, len(ids) + bos)
            for place, (language, row, ids) in enumerate(columns)
        ],
        columns=["block", "column", "language", "number", "tokens"],
    )


@dataclass(frozen=True)
class Responses:
    """The responses of U units to N sentences of K languages, read from disk when they are needed.

    Attributes:
        files: files of the blocks, which hold arrays [U, B].
        table: see `column_table`.
        languages: the K languages.
        linear_layers: the linear layers of the model, in order.
        columns: the columns of all blocks that the sentences of `table` have; None where they have all of them.
    """

    files: tuple[Path, ...]
    table: pd.DataFrame
    languages: tuple[str, ...]
    linear_layers: tuple[LinearLayer, ...]
    columns: np.ndarray | None = None

    @classmethod
    def load(cls, header_path: str | Path) -> "Responses":
        """Read a responses artifact by its header; the table and the blocks lie beside it.

        Raises:
            LapeError: the header is missing, of another kind of artifact, or was written for other files.
        """
        header_path = Path(header_path)
        header = read_json(header_path, "responses")
        path = checked(header_path, header, ".tsv")
        folder = header_path.with_suffix(".blocks")
        try:
            table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"language": str})
            table = table.astype({"block": "int64", "column": "int64", "number": "int64", "tokens": "int64"})
            widths = table["block"].value_counts(sort=False).sort_index()
            languages = tuple(header["languages"])
            layers = tuple(map(LinearLayer.of, header["linear_layers"]))
            units = header["units"]
            if not set(table["language"]) <= set(languages) or list(widths.index) != list(range(len(widths))):
                raise ValueError("a language or a block is missing")
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is no table of responses ({error}); run the responses step again") from error
        found = cls(tuple(folder / f"{block}.npy" for block in widths.index), table, languages, layers)
        for file, width in zip(found.files, widths, strict=True):
            expected = header.get("outputs", {}).get(f"{folder.name}/{file.name}")
            try:
                stands = read_array(file, mmap=True).shape == (units, width) and expected in (None, sha256(file))
            except LapeError:
                stands = False
            if not stands:
                # The workflow does not watch the blocks. Without force it would not make one again.
                raise LapeError(
                    f"{file}: is missing, or not the file that {header_path} was written for; run `lape responses` "
                    "again, or snakemake --forcerun responses"
                )
        return found

    def half(self, number: int) -> "Responses":
        """The responses to every second sentence of each language.

        Args:
            number: 1 for the first, third, ... of a language's sentences in the order in which they were drawn; 2 for
                the second, fourth, ... of them. The two halves share no sentence.
        """
        place = self.table.groupby("language")["number"].rank(method="first").to_numpy(int) - 1
        chosen = np.flatnonzero(place % 2 == number - 1)
        return replace(self, table=self.table.iloc[chosen].reset_index(drop=True), columns=chosen)

    @property
    def labels(self) -> np.ndarray:
        """The place of each column's language in `languages`, int64 [N]."""
        places = {name: place for place, name in enumerate(self.languages)}
        return self.table["language"].map(places).to_numpy(np.int64, copy=True)

    @property
    def units(self) -> int:
        """The number of units, U."""
        return self.linear_layers[-1].first + self.linear_layers[-1].width

    def chunk(self, first: int, last: int) -> np.ndarray:
        """The responses of the units `first` ... `last - 1`, float32 [last - first, N]."""
        # The files are mapped anew each time. In an old mapping, pages read long ago would count as used memory.
        parts = [read_array(file, mmap=True)[first:last] for file in self.files]
        every = np.concatenate(parts, axis=1, dtype=np.float32)
        return every if self.columns is None else every.take(self.columns, axis=1)

    def chunks(self, memory: int = 2**28) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all responses, some units at a time.

        Args:
            memory: bytes of the responses that are read at a time.

        Yields:
            the number of the first unit, and the responses of n units from that one on, float32 [n, N].
        """
        step = max(1, memory // (4 * len(self.table)))
        for first in range(0, self.units, step):
            yield first, self.chunk(first, min(first + step, self.units))
