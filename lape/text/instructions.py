"""Instruction data of one language, which parameter variation fine-tunes on (section 3.1 (d)).

Rows of files or of a hub dataset become examples in Alpaca's form: instruction, input, output. A row has that form
already or is a conversation. The translations of Alpaca that the paper trained on are conversations.
"""

import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path

from lape.artifacts.files import write_header, writing
from lape.errors import LapeError
from lape.machine.progress import progress
from lape.text.files import json_lines, matching_paths, reader_of
from lape.text.hub_datasets import dataset_rows
from lape.text.reading import Reading

logger = logging.getLogger(__name__)

KEYS = ("instruction", "input", "output")
# What a column holds -> its default name. A row that has the column of conversations is a conversation.
COLUMNS = {**{key: key for key in KEYS}, "conversations": "conversations"}


def instructions(
    language: str, source: str, settings: Mapping, reading: Reading | None = None
) -> Iterator[dict[str, str]]:
    """Yield one language's examples: instruction, input (may be empty) and output, as the source has them.

    In a conversation, the first human turn that is answered is the instruction, and its answer is the output.

    Args:
        language: the language to read.
        source: "files" or "hub".
        settings: keyword arguments of `read_files` or `read_hub`; and `columns`, a mapping from a key of `COLUMNS` to
            the name of its column, for columns that have another name than the default.
        reading: takes note of the files read and of rows that are no example.

    Raises:
        LapeError: at once, where a setting is missing or unknown; later, while examples are yielded, where the source
            cannot be read.
    """
    reading = Reading() if reading is None else reading
    settings = dict(settings)
    columns = {**COLUMNS, **settings.pop("columns", {})}
    read = SOURCES[source]
    try:
        inspect.signature(read).bind(language, reading, **settings)
    except TypeError as error:
        raise LapeError(f"settings of instructions source {source}: {error}; correct the settings") from error
    if unknown := columns.keys() - COLUMNS.keys():
        raise LapeError(f"columns: unknown key {min(unknown)!r}; name {', '.join(COLUMNS)}")
    return _examples(read(language, reading, **settings), columns, reading)


def read_files(language: str, reading: Reading, *, pattern: str | Mapping[str, str]) -> Iterator[tuple[str, dict]]:
    """Yield place and content of every row of every matching file, in the order of the files' paths.

    A line of `.jsonl` (or `.jsonl.gz`, `.jsonl.zst`) and an element of a list in `.json` are one row each.

    Args:
        language: the language to read.
        reading: takes note of files and of unusable lines.
        pattern: glob in which `{language}` stands for the language, or a glob for each language.

    Raises:
        LapeError: no file matches, a file has an unknown extension or cannot be read.
    """
    paths = matching_paths(pattern, language)
    readers = [reader_of(path, _READERS) for path in paths]
    for path, reader in zip(paths, readers, strict=True):
        reading.inputs.append(path)
        try:
            yield from reader(path, path.name, reading)
        except OSError as error:
            raise LapeError(
                f"{path}: cannot be read ({error.strerror or error}); mend it, or name files without it"
            ) from error


def read_hub(
    language: str, reading: Reading, *, path: str, revision: str | None, config: str | None = None, split: str = "train"
) -> Iterator[tuple[str, dict]]:
    """Yield place and content of every row of a dataset, streamed.

    Args:
        language: the language to read; the dataset holds no other.
        reading: unused, as a dataset has no files and no lines to note.
        path: the dataset's name on the hub, or a local folder.
        revision: commit of the dataset; a local folder has none.
        config: its configuration; None for the only one.
        split: split to read.

    Raises:
        LapeError: the dataset cannot be reached or read.
    """
    with closing(dataset_rows(path, config, revision, split)) as rows:
        for number, row in enumerate(rows):
            yield f"row {number}", row


SOURCES = {"files": read_files, "hub": read_hub}


def build_instructions(
    language: str, source: str, settings: Mapping, output: str | Path, *, examples: int | None = None
) -> None:
    """Write one language's examples as JSON lines, and the header of the file beside it.

    Args:
        language: the language to read.
        source: "files" or "hub".
        settings: see `instructions`.
        output: the `.jsonl`; the header is the `.json` beside it.
        examples: stop after so many examples; None for all.

    Raises:
        LapeError: the source cannot be read, or it has no example.
    """
    if examples is not None and examples < 1:
        raise LapeError(f"examples: {examples} is none; ask for 1 or more")
    output, reading = Path(output), Reading()
    count = with_input = 0
    with writing(output) as temporary:
        with (
            open(temporary, "w", encoding="utf-8", newline="\n") as file,
            closing(instructions(language, source, settings, reading)) as found,
            progress(examples, f"instructions {language}", "example") as bar,
        ):
            for example in islice(found, examples):
                file.write(json.dumps(example, ensure_ascii=False) + "\n")
                count += 1
                with_input += bool(example["input"].strip())
                bar.update()
        if not count:
            first = f", the first is {reading.examples[0]}" if reading.examples else ""
            raise LapeError(
                f"instructions {language}: no example is left (bad rows: {reading.bad}{first}); "
                "check the source and its settings"
            )
    write_header(
        output.with_suffix(".json"),
        "instructions",
        language=language,
        source=source,
        examples=count,
        with_input=with_input,
        bad_rows={"count": reading.bad, "examples": reading.examples},
        parameters={"settings": dict(settings), "examples": examples},
        inputs=reading.inputs,
        outputs=[output],
    )
    logger.info("instructions %s: %d examples", language, count)
    if reading.bad:
        logger.warning("instructions %s: %d bad rows, the first: %s", language, reading.bad, reading.examples[0])
    if examples is not None and count < examples:
        logger.warning("instructions %s: %d were wanted, %d is all there is", language, examples, count)


def _read_array(path: Path, name: str, reading: Reading) -> Iterator[tuple[str, dict]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LapeError(f"{path}: is not JSON in UTF-8 ({error}); mend it, or name files without it") from error
    if not isinstance(rows, list):
        raise LapeError(f"{path}: is not a list of rows; call it .jsonl where it holds one object a line")
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield f"{name}:{number}", row
        else:
            reading.refuse(f"{name}:{number}", "not a JSON object")


_READERS = {".jsonl": json_lines, ".jsonl.gz": json_lines, ".jsonl.zst": json_lines, ".json": _read_array}


def _examples(
    rows: Iterator[tuple[str, dict]], columns: Mapping[str, str], reading: Reading
) -> Iterator[dict[str, str]]:
    """Yield the rows that are examples; `reading` takes note of the other rows."""
    with closing(rows):
        for where, row in rows:
            try:
                yield _example(row, columns)
            except _NoExampleError as reason:
                reading.refuse(where, str(reason))


class _NoExampleError(Exception):
    """A row is no example; the message says why."""


def _example(row: Mapping, columns: Mapping[str, str]) -> dict[str, str]:
    if row.get(columns["conversations"]) is not None:
        instruction, output = _first_exchange(row[columns["conversations"]])
        example = dict(zip(KEYS, (instruction, "", output), strict=True))
    else:
        for key in ("instruction", "output"):
            if columns[key] not in row:
                raise _NoExampleError(f"no column {columns[key]!r}, but {', '.join(row)}")
        example = {key: row.get(columns[key]) for key in KEYS}
        example["input"] = "" if example["input"] is None else example["input"]
    for key, text in example.items():
        if not isinstance(text, str):
            raise _NoExampleError(f"the {key} is {type(text).__name__}, not a string")
        if key != "input" and not text.strip():
            raise _NoExampleError(f"the {key} is empty")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _NoExampleError(f"the {key} holds half a surrogate pair, which is no character") from None
    return example


def _first_exchange(conversation: object) -> tuple[object, object]:
    """The first human turn that is answered, and its answer."""
    try:
        turns = [(turn["from"], turn["value"]) for turn in conversation]
    except (TypeError, KeyError) as error:
        raise _NoExampleError("the conversation is not a list of turns with from and value") from error
    for (speaker, question), (other, answer) in pairwise(turns):
        if (speaker, other) == ("human", "gpt"):
            return question, answer
    raise _NoExampleError("no turn of human that gpt answers")
