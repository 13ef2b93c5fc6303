"""The user's own files: plain text, JSON lines (also compressed) and Parquet, read as a stream."""

import io
import json
import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lape.errors import LapeError
from lape.text.file_patterns import matching_files
from lape.text.reading import Reading

_BATCH = 1000  # rows of a Parquet file in memory at once


def read_files(
    language: str,
    reading: Reading,
    *,
    pattern: str | Mapping[str, str],
    text_column: str,
    id_column: str | None,
    document: str = "file",
) -> Iterator[tuple[str, str]]:
    """Yield the documents of every matching file, in the order of the files' paths.

    A document is a `.txt` file or a part of one, a line of `.jsonl` (or `.jsonl.gz`, `.jsonl.zst`), or a row of
    `.parquet`. Its id is the value of the id column where one is named, else `<file>` or `<file>:<line, part or row,
    from 1>`. The file is named relative to the folder that all matching files share.

    Args:
        language: the language to read.
        reading: takes note of files and of unusable lines.
        pattern: glob in which `{language}` stands for the language, or a glob for each language.
        text_column: column of JSON lines and Parquet that holds the text.
        id_column: column that holds the id; None to number the lines.
        document: what a document is in a `.txt` file: the "file", a "line", or a "paragraph" between blank lines.

    Raises:
        LapeError: `document` is unknown, no file matches, a file has an unknown extension or cannot be read, or a
            Parquet file lacks a column.
    """
    if document not in _PARTS:
        raise LapeError(f"corpus.files.document: {document!r} is unknown; use one of {', '.join(_PARTS)}")
    paths = matching_paths(pattern, language)
    known = {".txt": partial(_read_text, parts=_PARTS[document]), **_READERS}
    readers = [reader_of(path, known) for path in paths]
    # File names alone would collide where a pattern matches several folders. Absolute paths differ by machine.
    folder = os.path.commonpath([path.parent for path in paths])
    for path, reader in zip(paths, readers, strict=True):
        reading.inputs.append(path)
        try:
            yield from reader(path, os.path.relpath(path, folder), reading, text_column, id_column)
        except OSError as error:
            raise LapeError(
                f"{path}: cannot be read ({error.strerror or error}); mend it, or name files without it"
            ) from error
        except pa.ArrowException as error:
            raise LapeError(
                f"{path}: is not a readable Parquet file ({error}); mend it, or name files without it"
            ) from error


def matching_paths(pattern: str | Mapping[str, str], language: str) -> list[Path]:
    """The files of one language, sorted.

    Raises:
        LapeError: there is no glob for the language, or no file matches it.
    """
    if isinstance(pattern, Mapping):
        if language not in pattern:
            raise LapeError(f"pattern: has no glob for {language!r}, only for {', '.join(pattern)}; add one")
        pattern = pattern[language]
    paths = matching_files(pattern, language)
    if not paths:
        raise LapeError(
            f"{pattern.replace('{language}', language)}: no file matches; correct the pattern of language {language!r}"
        )
    return [Path(path) for path in paths]


def reader_of(path: Path, readers: Mapping[str, Callable]) -> Callable:
    """The reader of the file's extension.

    Raises:
        LapeError: no reader has the extension.
    """
    for extension, reader in readers.items():
        if path.name.lower().endswith(extension):
            return reader
    raise LapeError(f"{path}: unknown extension; texts are read from {', '.join(readers)}")


def _read_text(
    path: Path, name: str, reading: Reading, text_column: str, id_column: str | None, *, parts: re.Pattern | None
):
    try:
        # newline="" keeps the text as it is. utf-8-sig drops a byte order mark, which is no text.
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        return reading.refuse(name, f"not UTF-8 ({error.reason} at byte {error.start})")
    found = [(name, text)]
    if parts is not None:
        found = [(f"{name}:{number}", part) for number, part in enumerate(filter(str.strip, parts.split(text)), 1)]
    for where, part in found:
        if document := reading.document(where, where, part):
            yield document


def _read_lines(path: Path, name: str, reading: Reading, text_column: str, id_column: str | None):
    for where, row in json_lines(path, name, reading):
        if text_column not in row:
            reading.refuse(where, f"no column {text_column!r}")
        elif document := reading.document(where, row.get(id_column) if id_column else where, row[text_column]):
            yield document


def json_lines(path: Path, name: str, reading: Reading) -> Iterator[tuple[str, dict]]:
    """Yield the place `<name>:<line, from 1>` and the content of every JSON object; other lines are refused."""
    # Arrow reads a file that was compressed in several parts to its end, and refuses a truncated one.
    with pa.input_stream(str(path), compression="detect") as stream, io.BufferedReader(stream) as lines:
        for number, line in enumerate(lines, 1):
            where = f"{name}:{number}"
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                reading.refuse(where, f"not UTF-8 ({error.reason} at byte {error.start} of the line)")
                continue
            except (ValueError, RecursionError) as error:
                reading.refuse(where, f"not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield where, row
            else:
                reading.refuse(where, "not a JSON object")


def _read_parquet(path: Path, name: str, reading: Reading, text_column: str, id_column: str | None):
    columns = [text_column] if id_column is None else [text_column, id_column]
    with pq.ParquetFile(path) as file:
        for column in columns:
            if column not in file.schema_arrow.names:
                raise LapeError(
                    f"{path}: has no column {column!r}, but {', '.join(file.schema_arrow.names)}; correct its name"
                )
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
            for row in zip(*(batch.column(column) for column in columns), strict=True):
                number += 1
                where = f"{name}:{number}"
                try:
                    text, *identity = (value.as_py() for value in row)
                except UnicodeDecodeError as error:
                    reading.refuse(where, f"not UTF-8 ({error.reason} at byte {error.start} of the text)")
                    continue
                if document := reading.document(where, identity[0] if identity else where, text):
                    yield document


# What parts the documents of a `.txt` file.
_PARTS = {"file": None, "line": re.compile(r"\r?\n"), "paragraph": re.compile(r"(?:\r?\n[^\S\n]*){2,}")}
# Extension -> reader, but for `.txt`, whose reader depends on a setting.
_READERS = {
    ".jsonl": _read_lines,
    ".jsonl.gz": _read_lines,
    ".jsonl.zst": _read_lines,
    ".parquet": _read_parquet,
}
