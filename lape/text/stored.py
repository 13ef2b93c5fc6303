"""Read a corpus artifact: the documents of a split, and their texts in the order in which they are sampled."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.text.reading import Reading
from lape.text.tokens import split_rows

_HELD = 1 << 26  # bytes of text that are held at a time


class StoredCorpus:
    """The documents of one language. Ids are held in memory and texts are not, so that memory does not grow with them.

    Args:
        path: the Parquet file; its header is the `.json` beside it.

    Attributes:
        path: the Parquet file.
        header_path: path of the header.
        header: content of the header.
        ids: id of every document, in the file's order.

    Raises:
        LapeError: the corpus is missing, its header was written for another file, or it is no Parquet file.
    """

    def __init__(self, path: str | Path):
        self.header_path = Path(path).with_suffix(".json")
        self.header = read_json(self.header_path, "corpus")
        self.path = checked(self.header_path, self.header, ".parquet")
        try:
            with pq.ParquetFile(self.path) as file:
                groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
                ids = file.read(columns=["id"])["id"]
                ids.validate(full=True)  # raises where they are not UTF-8
                self.ids: list[str] = ids.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged() from error
        self._ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
        text = sum(group.total_byte_size for group in groups)  # uncompressed
        self._documents = max(1, _HELD * len(self.ids) // max(1, text))  # whose texts are held at a time

    @classmethod
    def of(cls, path: str | Path, language: str, reading: Reading) -> "StoredCorpus":
        """Open the corpus of a language, and let `reading` take note of its files.

        Raises:
            LapeError: the corpus is of another language, or cannot be read.
        """
        stored = cls(path)
        if (found := stored.header["language"]) != language:
            raise LapeError(f"{path}: is in {found!r}, not in {language!r}; pass this language's corpus")
        reading.inputs += [stored.path, stored.header_path]
        return stored

    def rows(self, split: str, valid_share: float, seed: int) -> np.ndarray:
        """The rows of one split, in the order in which they are sampled; see `lape.text.tokens.split_rows`."""
        newest = self.header.get("newest")
        return split_rows(self.ids, split, valid_share, seed, newest and newest["smallest_id"])

    def texts(self, rows: np.ndarray) -> Iterator[str]:
        """Yield the texts of some rows, in the order given.

        Rows that follow one another in the order of the draw lie far apart in the file. The file is therefore read from
        its beginning for every portion of rows.

        Args:
            rows: int64 [N], row numbers, each once.

        Raises:
            LapeError: the file is damaged.
        """
        try:
            with pq.ParquetFile(self.path) as file:
                for start in range(0, len(rows), self._documents):
                    yield from self._portion(file, rows[start : start + self._documents])
        except (OSError, pa.ArrowException) as error:
            raise self._damaged() from error

    def _portion(self, file: pq.ParquetFile, rows: np.ndarray) -> Iterator[str]:
        order = np.argsort(rows)
        groups = np.searchsorted(self._ends, rows[order], side="right")
        found: list[pa.Array] = []
        for group in np.unique(groups):
            begin = self._ends[group] - file.metadata.row_group(int(group)).num_rows
            text = file.read_row_group(int(group), columns=["text"])["text"]
            text.validate(full=True)  # raises where it is not UTF-8
            found += text.take(pa.array(rows[order][groups == group] - begin)).chunks
        texts = pa.chunked_array(found, pa.string())
        for place in np.argsort(order):
            yield texts[int(place)].as_py()

    def _damaged(self) -> LapeError:
        return LapeError(f"{self.path}: cannot be read as parquet; run the corpus step again")
