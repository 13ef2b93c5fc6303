"""Sentences of one language: scored ones, on which expert units are found, and held-out ones.

Kojima et al. (2024) score a unit by 500 sentences of a language and by 500 of every other language. Generated texts are
compared with the held-out sentences. No document has sentences in both groups.
"""

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from lape.artifacts.files import checked, read_json, read_rows, write_header, writing
from lape.errors import LapeError
from lape.text.drawing import SOURCES, Drawing, comparable
from lape.text.reading import Reading

logger = logging.getLogger(__name__)


def build_sentences(
    language: str,
    source: str,
    settings: Mapping,
    output: str | Path,
    *,
    number: int = 500,
    held_out: int = 100,
    seed: int = 0,
) -> None:
    """Write one language's sentences as JSON lines, the scored ones first, and the header of the file beside it.

    Args:
        language: the language to read.
        source: "corpus", "hub" or "files".
        settings: keyword arguments of the source's reader in `lape.text.drawing`. `minimum_bytes` (of letters) and
            `maximum_characters` of a sentence may be given too; they replace the defaults of `Drawing`.
        output: the `.jsonl`; the header is the `.json` beside it.
        number: how many sentences are scored. A source of several datasets gives an equal share from each.
        held_out: how many sentences are held out, with equal shares too.
        seed: seed of the draw.

    Raises:
        LapeError: a setting is missing or unknown, or the source cannot be read or has fewer sentences.
    """
    for key, size, least in (("number", number, 1), ("held_out", held_out, 0)):
        if size < least:
            raise LapeError(f"sentences {language}: {size} cannot be drawn; set sentences.{key} to {least} or more")
    output, reading = Path(output), Reading()
    settings = dict(settings)
    limits = {key: settings.pop(key) for key in ("minimum_bytes", "maximum_characters") if key in settings}
    for key, limit in limits.items():
        if type(limit) is not int or limit < 1:
            raise LapeError(f"sentences {language}: {key} {limit!r} is no limit; set sentences.{key} to 1 or more")
    drawing = Drawing(number, held_out, seed, **limits)
    read = SOURCES[source]
    try:
        inspect.signature(read).bind(language, reading, drawing, **settings)
    except TypeError as error:
        raise LapeError(f"settings of sentences source {source}: {error}; correct the settings") from error
    pools = read(language, reading, drawing, **settings)
    rows = []
    for split, key, wanted in (("scored", "number", number), ("held_out", "held_out", held_out)):
        parts = []
        for place, (name, pool) in enumerate(pools.items()):
            share = wanted // len(pools) + (place < wanted % len(pools))
            parts.append(list(islice(pool[split], share)))
            if len(parts[-1]) < share:
                raise LapeError(
                    f"sentences {language}: {name} has {len(parts[-1])} {split} sentences, {share} are wanted (left "
                    f"out: {drawing.report()}); add text or lower sentences.{key}"
                )
        # The datasets take turns, so that any beginning of the list is as mixed as the whole.
        drawn = filter(None, chain.from_iterable(zip_longest(*parts)))
        rows += [{"split": split, "id": identity, "text": text} for identity, text in drawn]
    with writing(output) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_header(
        output.with_suffix(".json"),
        "sentences",
        language=language,
        source=source,
        scored=number,
        held_out=held_out,
        dropped=drawing.dropped,
        bad_rows={"count": reading.bad, "examples": reading.examples},
        parameters={
            "settings": settings,
            "number": number,
            "held_out": held_out,
            "seed": seed,
            "minimum_bytes": drawing.minimum_bytes,
            "maximum_characters": drawing.maximum_characters,
        },
        inputs=reading.inputs,
        outputs=[output],
    )
    logger.info("sentences %s: %d scored, %d held out; left out: %s", language, number, held_out, drawing.report())
    if reading.bad:
        logger.warning("sentences %s: %d bad rows, the first: %s", language, reading.bad, reading.examples[0])


def load_sentences(header_path: str | Path) -> dict[str, list[str]]:
    """The sentences of an artifact: "scored" and "held_out" -> texts, in the order in which they were drawn.

    Raises:
        LapeError: the header is of another kind of artifact, or was written for another file.
    """
    path = checked(header_path, read_json(header_path, "sentences"), ".jsonl")
    rows = read_rows(path, {"split": str, "text": str})
    return {split: [row["text"] for row in rows if row["split"] == split] for split in ("scored", "held_out")}


def common_pool(headers: Sequence[str | Path]) -> tuple[dict[str, list[tuple[int, str]]], dict[str, int]]:
    """The scored sentences of all languages: equally many per language, and no sentence in two languages.

    A text that stands in several languages, such as a name or a quotation, would be a positive and a negative example
    of one language at once. It is left out of all languages. Then all lists are cut to the length of the shortest.

    Args:
        headers: paths of the artifacts' headers, one per language.

    Returns:
        language -> [(row, text)], where row is the text's number among the language's scored sentences, from 0; and
        language -> how many texts were left out because another language has them too. The languages are in the order
        of the headers.

    Raises:
        LapeError: there are fewer than two languages, two headers are of one language, a language has no sentence
            left, or a header was written for another file.
    """
    pool: dict[str, list[str]] = {}
    owners: dict[str, set[str]] = {}
    for path in headers:
        language = read_json(path, "sentences")["language"]
        if language in pool:
            raise LapeError(f"{path}: has sentences of {language!r}, as another header has; name each language once")
        pool[language] = load_sentences(path)["scored"]
        for text in pool[language]:
            owners.setdefault(comparable(text), set()).add(language)
    if len(pool) < 2:
        raise LapeError(f"sentences: {', '.join(pool) or 'none'} is too few to compare; name two languages or more")
    own = {
        language: [(row, text) for row, text in enumerate(texts) if len(owners[comparable(text)]) == 1]
        for language, texts in pool.items()
    }
    left_out = {language: len(texts) - len(own[language]) for language, texts in pool.items()}
    size = min(map(len, own.values()))
    if any(left_out.values()):
        counts = ", ".join(f"{language} {count}" for language, count in left_out.items() if count)
        logger.warning("sentences that stand in several languages, left out: %s; %d are left of each", counts, size)
    if not size:
        empty = next(language for language in own if not own[language])
        raise LapeError(f"sentences {empty}: every one stands in another language too; correct the source of one")
    return {language: texts[:size] for language, texts in own.items()}, left_out
