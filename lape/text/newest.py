"""The newest pages of a dataset whose ids grow with time, found without reading the dataset's text.

Wikipedia's ids grow with time. First the ids of each row group of the dataset's Parquet files are read, a few kilobytes
per group. Then only the groups that hold one of the newest pages are read. The pages may be in any order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lape.errors import LapeError
from lape.machine.progress import progress
from lape.text.hub_datasets import reading_dataset, require_columns

# Bytes that a request fetches beyond those that are asked for. fsspec's default, 5 MiB, would fetch the text that lies
# behind the ids.
_AHEAD = 1 << 14


@dataclass(frozen=True)
class NewestPages:
    """Which pages are the newest, and where they are.

    Attributes:
        smallest_id: the smallest id of a newest page.
        groups: (file, row group) of every row group that holds a newest page, in the dataset's order.
    """

    smallest_id: int
    groups: list[tuple[str, int]]


def find_newest(name: str, files: Sequence[str], id_column: str, number: int) -> NewestPages:
    """Find the pages of the highest ids.

    Args:
        name: what messages call the dataset.
        files: the dataset's Parquet files, local or of the hub.
        id_column: column of the ids, integers or strings of digits.
        number: how many pages are the newest.

    Raises:
        LapeError: a file cannot be read or lacks the column, an id is no integer, or the dataset has no further page
            beside the newest.
    """
    highest = np.empty(0, np.int64)
    ends: list[tuple[str, int, int]] = []  # file, row group, its highest id
    with progress(len(files), f"ids {name}", "file") as bar, reading_dataset(name):
        for file in files:
            with _parquet(file) as parquet:
                require_columns(parquet.schema_arrow.names, [id_column], name)
                for group in range(parquet.num_row_groups):
                    ids = _integers(parquet.read_row_group(group, columns=[id_column])[id_column], name, id_column)
                    if len(ids):
                        ends.append((file, group, int(ids.max())))
                        highest = _highest(np.concatenate([highest, ids]), number + 1)
            bar.update()
    if len(highest) <= number:
        raise LapeError(f"dataset {name}: has {len(highest)} pages, none to train on; lower corpus.hub.newest")
    smallest = int(_highest(highest, number).min())
    return NewestPages(smallest, [(file, group) for file, group, end in ends if end >= smallest])


def read_newest(name: str, pages: NewestPages, id_column: str, text_column: str) -> Iterator[tuple[object, object]]:
    """Yield id and text of the newest pages, in the dataset's order.

    Args:
        name: what messages call the dataset.
        pages: what `find_newest` found.
        id_column, text_column: the columns that hold id and text.

    Raises:
        LapeError: a file cannot be read.
    """
    with reading_dataset(name):
        for file, groups in groupby(pages.groups, itemgetter(0)):
            with _parquet(file) as parquet:
                for _, group in groups:
                    table = parquet.read_row_group(group, columns=[id_column, text_column])
                    for identity, text in zip(table[id_column], table[text_column], strict=True):
                        if identity.is_valid and int(identity.as_py()) >= pages.smallest_id:
                            yield identity.as_py(), text.as_py()


@contextmanager
def _parquet(file: str) -> Iterator[pq.ParquetFile]:
    with fsspec.open(file, "rb", block_size=_AHEAD) as stream, pq.ParquetFile(stream) as parquet:
        yield parquet


def _integers(ids: pa.ChunkedArray, name: str, id_column: str) -> np.ndarray:
    """The ids as int64. A row without an id is left out, as it is no document."""
    try:
        return ids.drop_null().cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise LapeError(
            f"dataset {name}: column {id_column!r} holds what is no integer ({error}); name another id_column, or "
            "set corpus.hub.newest to null"
        ) from error


def _highest(ids: np.ndarray, number: int) -> np.ndarray:
    return ids if len(ids) <= number else np.partition(ids, len(ids) - number)[-number:]
