"""Sentences and their translations, for a model to translate.

Kojima et al. (2024) take the pairs of FLORES-200, IWSLT2017 and WMT.
"""

import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from lape.artifacts.files import checked, read_json, read_rows, write_header, writing
from lape.errors import LapeError
from lape.text.hub_datasets import dataset_name, dataset_rows, require_columns, with_languages
from lape.text.questions import COLUMNS, aligned, load_questions, read_questions
from lape.text.reading import Reading

logger = logging.getLogger(__name__)

Pair = tuple[int, str, str]  # number, source, reference


def read_aligned_questions(
    source_language: str, language: str, reading: Reading, *, questions: Sequence[str | Path]
) -> Iterator[Pair]:
    """Yield the run's own questions in two languages.

    Args:
        source_language: language to translate from.
        language: language to translate into.
        reading: takes note of the files.
        questions: paths of the two languages' headers, the source's first.

    Raises:
        LapeError: a header is of another language, or the two languages have questions of different numbers.
    """
    for path, wanted in zip(questions, (source_language, language), strict=True):
        found = read_json(path, "questions")["language"]
        if found != wanted:
            raise LapeError(
                f"{path}: has questions in {found!r}, not in {wanted!r}; pass the source's, then the target's"
            )
    numbers = aligned(questions)
    sources, references = map(load_questions, questions)
    reading.inputs += [part for path in map(Path, questions) for part in (path, path.with_suffix(".jsonl"))]
    return ((number, sources[number], references[number]) for number in numbers)


def read_hub(
    source_language: str,
    language: str,
    reading: Reading,
    *,
    path: str,
    split: str,
    config: str | None = None,
    data_dir: str | None = None,
    revision: str | None = None,
    names: Mapping[str, str] | None = None,
    translation_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
) -> Iterator[Pair]:
    """Yield the pairs of a dataset of the Hugging Face hub, numbered by row, from 1.

    Datasets have one of two forms. In IWSLT and WMT one column holds both texts, by language. In FLORES each language
    has a configuration of its own.

    Args:
        source_language: language to translate from.
        language: language to translate into.
        reading: takes note of pairs that lack a text.
        path: the dataset's name on the hub, or a local folder.
        split: split to read.
        config: configuration, in which `{source}` and `{language}` stand for the two languages. Where each language
            has a configuration of its own, `{language}` stands for that language.
        data_dir: folder of the repository to read, with the placeholders of `config`.
        revision: commit of the dataset; a local folder has none.
        names: language -> what the dataset calls it, such as eng_Latn; None where it uses the run's codes.
        translation_column: column that maps the dataset's names of languages to texts; None for "translation".
        text_column: column that holds the text, where each language has a configuration.
        id_column: column by which the configurations are aligned; None to align them by row number.

    Raises:
        LapeError: the dataset cannot be read, it lacks a column or a language, its configurations are not aligned, or
            both a `text_column` and a `translation_column` are named.
    """
    if text_column is not None and translation_column is not None:
        raise LapeError(
            f"dataset {path}: either text_column {text_column!r} or translation_column {translation_column!r} has the "
            "texts; leave the other out"
        )
    if text_column is None and id_column is not None:
        raise LapeError(
            f"dataset {path}: id_column {id_column!r} aligns the text_column of two configurations; name one, or leave "
            "id_column out"
        )

    def place(code: str) -> dict:
        languages = {"language": code, "source": source_language}
        config_of, folder = (with_languages(template, names, **languages) for template in (config, data_dir))
        return {"path": path, "config": config_of, "revision": revision, "split": split, "data_dir": folder}

    codes = (source_language, language)
    if text_column is None:
        rows = _translations(
            place(language),
            translation_column or "translation",
            [with_languages("{code}", names, code=code) for code in codes],
        )
    else:
        rows = _side_by_side(*(_column(place(code), text_column, id_column) for code in codes))
    with closing(rows):
        for number, texts in enumerate(rows, 1):
            if all(reading.document(f"row {number}", number, text) for text in texts):
                yield number, *(text.strip() for text in texts)


def _translations(place: dict, column: str, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    name = dataset_name(place["path"], place["config"])
    with closing(dataset_rows(**place)) as rows:
        for row in rows:
            require_columns(row, [column], name)
            if not isinstance(row[column], Mapping):
                raise LapeError(
                    f"dataset {name}: {column!r} holds no translations; name a text_column where it is text"
                )
            require_columns(row[column], names, f"{name}, column {column!r}")
            yield tuple(row[column][language] for language in names)


def _column(place: dict, column: str, id_column: str | None) -> tuple[str, dict]:
    """The name of one language's configuration, and its texts by id or by row number."""
    name, texts = dataset_name(place["path"], place["config"]), {}
    with closing(dataset_rows(**place)) as rows:
        for number, row in enumerate(rows, 1):
            require_columns(row, [column, id_column], name)
            identity = number if id_column is None else row[id_column]
            if identity in texts:
                raise LapeError(f"dataset {name}: {id_column} {identity!r} is there twice; name another id_column")
            texts[identity] = row[column]
    return name, texts


def _side_by_side(source: tuple[str, dict], reference: tuple[str, dict]) -> Iterator[tuple[object, ...]]:
    (name, texts), (other, counterparts) = source, reference
    if alone := len(texts.keys() ^ counterparts.keys()):
        raise LapeError(f"datasets {name} and {other}: {alone} rows have no counterpart; name their id_column")
    yield from ((text, counterparts[identity]) for identity, text in texts.items())


def read_files(
    source_language: str,
    language: str,
    reading: Reading,
    *,
    pattern: str | Mapping[str, str],
    columns: Mapping[str, str] = COLUMNS,
    skip: Sequence[int] = (),
) -> Iterator[Pair]:
    """Yield the pairs of two files in the form of files of questions, aligned by number.

    Args:
        source_language: language to translate from.
        language: language to translate into.
        reading: takes note of the files.
        pattern, columns, skip: see `read_questions`.

    Raises:
        LapeError: a file cannot be read (see `read_questions`), or the two files have different numbers.
    """
    sources, references = (
        read_questions(code, reading, pattern=pattern, columns=columns, skip=skip)
        for code in (source_language, language)
    )
    if alone := sorted(sources.keys() ^ references.keys()):
        raise LapeError(f"pairs {language}: the numbers {alone} stand in one language only; add them, or `skip` them")
    return ((number, text, references[number]) for number, text in sources.items())


SOURCES = {"questions": read_aligned_questions, "hub": read_hub, "files": read_files}


def build_pairs(
    corpus: str,
    source_language: str,
    language: str,
    source: str,
    settings: Mapping,
    output: str | Path,
    *,
    number: int | None = None,
) -> None:
    """Write pairs as JSON lines, by number, and the header of the file beside it.

    Args:
        corpus: what the pairs are called, such as flores.
        source_language: language to translate from.
        language: language to translate into.
        source: "questions", "hub" or "files".
        settings: keyword arguments of the source's reader.
        output: the `.jsonl`; the header is the `.json` beside it.
        number: how many pairs to take from the first on (the paper takes 100); None for all.

    Raises:
        LapeError: a setting is missing or unknown, or the source cannot be read, is not aligned or has fewer pairs.
    """
    label = f"pairs {corpus} {language}"
    if number is not None and number < 1:
        raise LapeError(f"{label}: {number} pairs are none; ask for 1 or more")
    if source_language == language:
        raise LapeError(f"{label}: {language!r} is translated from itself; name two languages")
    output, reading = Path(output), Reading()
    read = SOURCES[source]
    try:
        inspect.signature(read).bind(source_language, language, reading, **settings)
    except TypeError as error:
        raise LapeError(f"settings of pairs source {source}: {error}; correct the settings") from error
    with closing(read(source_language, language, reading, **settings)) as found:
        pairs = list(islice(found, number))
    if len(pairs) < (number or 1):
        raise LapeError(
            f"{label}: {number or 1} are wanted, {len(pairs)} is all there is (bad rows: {reading.bad}); lower the "
            "number or add pairs"
        )
    with writing(output) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for pair in pairs:
            row = dict(zip(("number", "source", "reference"), pair, strict=True))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    write_header(
        output.with_suffix(".json"),
        "pairs",
        corpus=corpus,
        language=language,
        source_language=source_language,
        source=source,
        pairs=len(pairs),
        bad_rows={"count": reading.bad, "examples": reading.examples},
        parameters={"settings": dict(settings), "number": number},
        inputs=reading.inputs,
        outputs=[output],
    )
    logger.info("%s: %d", label, len(pairs))
    if reading.bad:
        logger.warning("%s: %d bad rows, the first: %s", label, reading.bad, reading.examples[0])


def load_pairs(header_path: str | Path) -> list[dict]:
    """The pairs of an artifact, each with its number, source and reference.

    Raises:
        LapeError: the header is of another kind of artifact, or was written for another file.
    """
    path = checked(header_path, read_json(header_path, "pairs"), ".jsonl")
    return read_rows(path, {"number": int, "source": str, "reference": str})
