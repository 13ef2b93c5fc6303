"""Open questions of one language, which the generation experiments put to the model (section 3.1).

All languages have the same questions under the same numbers, for two reasons. Answers are compared question by
question. The questions are also the aligned text of the structural analysis (section 3.3.2).
"""

import inspect
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from lape.artifacts.files import checked, read_json, read_rows, write_header, writing
from lape.errors import LapeError
from lape.text.files import json_lines, matching_paths, reader_of
from lape.text.hub_datasets import dataset_name, dataset_rows, require_columns, with_languages
from lape.text.reading import Reading

logger = logging.getLogger(__name__)

COLUMNS = {"number": "number", "question": "question"}

Row = tuple[str, object, object]  # where it stands, its number, the question


def read_questions(
    language: str,
    reading: Reading,
    *,
    pattern: str | Mapping[str, str],
    columns: Mapping[str, str] = COLUMNS,
    skip: Sequence[int] = (),
) -> dict[int, str]:
    """One language's questions by number, in the order of the numbers, without white space around them.

    A line of `.txt` or of `.jsonl` (or `.jsonl.gz`, `.jsonl.zst`) is one question. Its number is the line's number from
    1, unless the JSON lines have a column of numbers. Where the column of questions holds a list, as in MT-bench's
    files, the list is a conversation and its first turn is the question.

    Args:
        language: the language to read.
        reading: takes note of the files.
        pattern: glob in which `{language}` stands for the language, or a glob for each language.
        columns: "number" or "question" -> name of that column in JSON lines, where it has another name.
        skip: numbers of questions that are left out, such as questions that were spoilt in one language.

    Raises:
        LapeError: no file matches, a file has an unknown extension or cannot be read, a line is no question, or two
            questions have the same number.
    """
    _check(columns, skip)
    paths = matching_paths(pattern, language)
    readers = [reader_of(path, _READERS) for path in paths]

    def rows() -> Iterator[Row]:
        for path, reader in zip(paths, readers, strict=True):
            reading.inputs.append(path)
            try:
                yield from reader(path, {**COLUMNS, **columns}, reading)
            except OSError as error:
                raise LapeError(
                    f"{path}: cannot be read ({error.strerror or error}); mend it, or name files without it"
                ) from error

    return _numbered(language, rows(), reading, skip)


def read_hub(
    language: str,
    reading: Reading,
    *,
    path: str,
    split: str,
    config: str | None = None,
    revision: str | None = None,
    data_files: str | Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    language_column: str | None = None,
    columns: Mapping[str, str] = COLUMNS,
    skip: Sequence[int] = (),
) -> dict[int, str]:
    """One language's questions in a dataset of the Hugging Face hub, by number as `read_questions` gives them.

    A row is one question. Its number is the row's number among those of the language, from 1, unless the dataset has a
    column of numbers.

    Args:
        language: the language to read.
        reading: takes note of unusable rows.
        path: the dataset's name on the hub, a local folder, or "csv" for the files of `data_files`.
        split: split to read; "train" of files.
        config: configuration, in which `{language}` stands for the language; None for the only one.
        revision: commit of the dataset; a local folder and files have none.
        data_files: address of a file, in which `{language}` stands for the language, or an address for each language;
            None for the files that the dataset names.
        names: language -> what the dataset calls it, such as eng_Latn; None where it uses the run's codes.
        language_column: column of the language, where one table holds all; rows of other languages are passed over.
        columns, skip: see `read_questions`.

    Raises:
        LapeError: the dataset cannot be read, it lacks a column or the language, a row is no question, or two
            questions have the same number.
    """
    _check(columns, skip)
    wanted, named = {**COLUMNS, **columns}, with_languages("{language}", names, language=language)
    if isinstance(data_files, Mapping) and language not in data_files:
        raise LapeError(f"dataset {path}: data_files has no address of {language!r}; add one")
    files = data_files[language] if isinstance(data_files, Mapping) else data_files
    files = files and files.replace("{language}", named)
    config = with_languages(config, names, language=language)
    name = dataset_name(path, config or files)

    def rows() -> Iterator[Row]:
        with closing(dataset_rows(path, config, revision, split, data_files=files)) as found:
            number = 0
            for place, row in enumerate(found):
                require_columns(row, [wanted["question"], language_column], name)
                if language_column is None or row[language_column] == named:
                    number += 1
                    yield f"{name} row {place}", row.get(wanted["number"], number), _first_turn(row[wanted["question"]])

    return _numbered(language, rows(), reading, skip)


def _check(columns: Mapping[str, str], skip: Sequence[int]) -> None:
    if unknown := columns.keys() - COLUMNS.keys():
        raise LapeError(f"columns: unknown key {min(unknown)!r}; name {', '.join(COLUMNS)}")
    if not isinstance(skip, Sequence) or not all(type(number) is int for number in skip):
        raise LapeError(f"skip: {skip!r} is no list of numbers; give one such as [44]")


def _numbered(language: str, rows: Iterable[Row], reading: Reading, skip: Sequence[int]) -> dict[int, str]:
    """The questions of some rows by number, in the order of the numbers."""
    found: dict[int, str] = {}
    places: dict[int, str] = {}
    for where, number, question in rows:
        if type(number) is not int:
            reading.refuse(where, f"the number is {type(number).__name__}, not an integer")
        elif number in places:
            reading.refuse(where, f"number {number} is at {places[number]} already")
        elif number not in skip and reading.document(where, number, question):
            found[number], places[number] = question.strip(), where
    if reading.bad:
        raise LapeError(
            f"questions {language}: {reading.bad} bad rows, the first is {reading.examples[0]}; mend the file, or "
            "leave the number out of all languages by `skip`"
        )
    return dict(sorted(found.items()))


def build_questions(language: str, settings: Mapping, output: str | Path, *, number: int | None = None) -> None:
    """Write one language's questions as JSON lines, by number, and the header of the file beside it.

    Args:
        language: the language to read.
        settings: keyword arguments of `read_hub` where they name its `path`, else of `read_questions`.
        output: the `.jsonl`; the header is the `.json` beside it.
        number: how many questions to take, from the smallest number on; None for all.

    Raises:
        LapeError: a setting is missing or unknown, the questions cannot be read, or there are fewer questions.
    """
    if number is not None and number < 1:
        raise LapeError(f"number: {number} is none; ask for 1 or more")
    output, reading = Path(output), Reading()
    read = read_hub if "path" in settings else read_questions
    try:
        inspect.signature(read).bind(language, reading, **settings)
    except TypeError as error:
        raise LapeError(f"settings of questions: {error}; correct the settings") from error
    chosen = dict(islice(read(language, reading, **settings).items(), number))
    if len(chosen) < (number or 1):
        raise LapeError(f"questions {language}: {number or 1} are wanted, {len(chosen)} is all there is; add questions")
    with writing(output) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for key, question in chosen.items():
            file.write(json.dumps({"number": key, "question": question}, ensure_ascii=False) + "\n")
    write_header(
        output.with_suffix(".json"),
        "questions",
        language=language,
        questions=len(chosen),
        numbers=list(chosen),
        parameters={"settings": dict(settings), "number": number},
        inputs=reading.inputs,
        outputs=[output],
    )
    logger.info("questions %s: %d", language, len(chosen))


def load_questions(header_path: str | Path) -> dict[int, str]:
    """The questions of an artifact by number, in the order of the numbers.

    Raises:
        LapeError: the header is of another kind of artifact, or was written for another file.
    """
    path = checked(header_path, read_json(header_path, "questions"), ".jsonl")
    return {row["number"]: row["question"] for row in read_rows(path, {"number": int, "question": str})}


def aligned(headers: Sequence[str | Path]) -> list[int]:
    """The numbers of the questions, which all languages share.

    Args:
        headers: paths of the artifacts' headers, one per language.

    Raises:
        LapeError: a language has questions of other numbers than the first language.
    """
    first, *others = headers
    numbers = read_json(first, "questions")["numbers"]
    for path in others:
        own = read_json(path, "questions")["numbers"]
        if own != numbers:
            lacking, more = (sorted(set(some) - set(rest)) for some, rest in ((numbers, own), (own, numbers)))
            raise LapeError(
                f"{path}: lacks the questions {lacking} of {first}, and has {more} beside them; add what is missing, "
                "or leave these numbers out of all languages by `skip`"
            )
    return numbers


def _text_lines(path: Path, columns: Mapping[str, str], reading: Reading) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        return reading.refuse(str(path), f"not UTF-8 ({error.reason} at byte {error.start})")
    for number, line in enumerate(lines, 1):
        yield f"{path}:{number}", number, line


def _json_rows(path: Path, columns: Mapping[str, str], reading: Reading) -> Iterator[Row]:
    rows = list(json_lines(path, str(path), reading))
    # Where some rows have a number, a row without one is a fault. Its line number must not stand in.
    numbered = any(columns["number"] in row for _, row in rows)
    for line, (where, row) in enumerate(rows, 1):
        if columns["question"] not in row:
            reading.refuse(where, f"no column {columns['question']!r}, but {', '.join(row)}")
            continue
        yield where, row.get(columns["number"]) if numbered else line, _first_turn(row[columns["question"]])


def _first_turn(question: object) -> object:
    """A question; of a conversation, which is a list, its first turn."""
    return question[0] if isinstance(question, list) and question else question


_READERS = {".txt": _text_lines, **dict.fromkeys((".jsonl", ".jsonl.gz", ".jsonl.zst"), _json_rows)}
