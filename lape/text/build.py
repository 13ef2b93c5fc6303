"""The corpus of one language as an artifact: the cleaned documents of a source in a Parquet file."""

import inspect
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lape.artifacts.files import write_header, writing
from lape.errors import LapeError
from lape.machine.progress import progress
from lape.text.archives import read_archive
from lape.text.cleaning import IDENTIFIER, Cleaner, script_shares
from lape.text.embedded import read_embedded
from lape.text.files import read_files
from lape.text.hub_datasets import read_hub
from lape.text.language_codes import base_language
from lape.text.reading import Reading

_log = logging.getLogger(__name__)

SOURCES = {"embedded": read_embedded, "archive": read_archive, "hub": read_hub, "files": read_files}

_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
# A row group is held in memory. It ends at whichever of these limits comes first.
_GROUP_CHARACTERS = 1 << 22
_GROUP_DOCUMENTS = 10_000


def documents(
    language: str, source: str, settings: Mapping, reading: Reading | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the (id, text) documents of one language as the source has them.

    Args:
        language: the language to read.
        source: one of `SOURCES`.
        settings: keyword arguments of the source's reader.
        reading: takes note of the files read and of unusable rows.

    Raises:
        LapeError: at once, where a setting is missing or unknown; later, while documents are yielded, what the
            source's reader raises.
    """
    reading = Reading() if reading is None else reading
    read = SOURCES[source]
    try:
        inspect.signature(read).bind(language, reading, **settings)
    except TypeError as error:
        raise LapeError(f"settings of corpus source {source}: {error}; correct the settings") from error
    return read(language, reading, **settings)


def build_corpus(
    language: str,
    source: str,
    settings: Mapping,
    output: str | Path,
    *,
    language_check: str = "keep",
    minimum_characters: int = 1,
    exclude: str | None = None,
    other_language: float = 0.5,
    identifier: str = IDENTIFIER,
    threads: int = 1,
) -> None:
    """Write one language's documents to a Parquet file (columns id, text) and its header beside it.

    Args:
        language: the language to read.
        source: one of `SOURCES`.
        settings: keyword arguments of the source's reader.
        output: the Parquet file; the header is the `.json` beside it.
        language_check: "keep", "drop" or "off", see `Cleaner`.
        minimum_characters: shorter documents are dropped.
        exclude: regular expression; documents in which it is found are dropped.
        other_language: with "keep", the share of documents detected in another language above which the corpus is
            refused. From half of it on, and with "drop", a warning says so.
        identifier: detects languages, see `Cleaner`.
        threads: processes that detect languages, where the identifier is slow.

    Raises:
        LapeError: the source cannot be read, two documents have one id, no document is left, or too many are in another
            language.
    """
    output, reading = Path(output), Reading()
    cleaner = Cleaner(language, language_check, minimum_characters, exclude, identifier)
    corpus, newest = _Writer(), []
    with writing(output) as temporary:
        with (
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as file,
            progress(None, f"corpus {language}", "document") as bar,
        ):
            found = _counted(documents(language, source, settings, reading), bar)
            for identity, text in cleaner.clean(found, threads):
                corpus.add(file, identity, text)
                if reading.newest is not None and int(identity) >= reading.newest:
                    newest.append(int(identity))
            corpus.flush(file)
        _report(language, language_check, cleaner, reading, corpus.documents)
        _tell_of_others(language, language_check, cleaner, reading, other_language)
        if reading.newest is not None and not newest:
            raise LapeError(f"corpus {language}: cleaning leaves none of the newest pages; raise corpus.hub.newest")
    write_header(
        output.with_suffix(".json"),
        "corpus",
        language=language,
        source=source,
        documents=corpus.documents,
        characters=corpus.characters.total(),
        bytes=sum(len(character.encode()) * count for character, count in corpus.characters.items()),
        scripts=script_shares(corpus.characters),
        **({"newest": {"documents": len(newest), "smallest_id": min(newest)}} if newest else {}),
        detected_languages=dict(sorted(cleaner.detected.items(), key=lambda item: (-item[1], item[0]))),
        undetected=cleaner.undetected,
        share_other_language=cleaner.share_of_others,
        dropped=cleaner.dropped,
        bad_lines={"count": reading.bad, "examples": reading.examples},
        parameters={
            "settings": dict(settings),
            "language_check": language_check,
            "identifier": identifier,
            "minimum_characters": minimum_characters,
            "exclude": exclude,
            "other_language": other_language,
        },
        inputs=reading.inputs,
        outputs=[output],
    )


def _tell_of_others(language: str, language_check: str, cleaner: Cleaner, reading: Reading, limit: float) -> None:
    """Warn of documents in another language, from half of the limit on; with "keep", refuse more than the limit."""
    share = cleaner.share_of_others
    if share is None or share <= limit / 2:
        return
    others = [f"{code} {count}" for code, count in cleaner.detected.most_common(4) if code != base_language(language)]
    what = f"corpus {language}: {share:.0%} of the documents are detected as another language"
    what += f" ({', '.join(others)})" if others else ""
    if language_check == "keep" and share > limit:
        files = ", ".join(map(str, reading.inputs[:2])) + (", ..." if len(reading.inputs) > 2 else "")
        raise LapeError(
            f"{what}, more than corpus.other_language ({limit:.0%}): {files}; name text in {language}, raise "
            "corpus.other_language, or set corpus.language_check to off"
        )
    _log.warning("%s", what)


def _counted(found: Iterator[tuple[str, str]], bar: tqdm) -> Iterator[tuple[str, str]]:
    for document in found:
        bar.update()
        yield document


class _Writer:
    """Collect documents into row groups, so that memory does not grow with the corpus."""

    def __init__(self):
        self.documents = 0
        self.characters: Counter[str] = Counter()
        self._identities: list[str] = []
        self._texts: list[str] = []
        self._pending = 0

    def add(self, file: pq.ParquetWriter, identity: str, text: str) -> None:
        self.documents += 1
        self.characters.update(text)
        self._identities.append(identity)
        self._texts.append(text)
        self._pending += len(text)
        if self._pending >= _GROUP_CHARACTERS or len(self._texts) >= _GROUP_DOCUMENTS:
            self.flush(file)

    def flush(self, file: pq.ParquetWriter) -> None:
        if self._texts:
            file.write_table(pa.table([self._identities, self._texts], schema=_SCHEMA))
        self._identities, self._texts, self._pending = [], [], 0


def _report(language: str, language_check: str, cleaner: Cleaner, reading: Reading, kept: int) -> None:
    """Warn of what was left out, and raise where no document is left."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in cleaner.dropped.items())
    if not kept:
        first = f"; the first bad line is {reading.examples[0]}" if reading.examples else ""
        raise LapeError(
            f"corpus {language}: no document is left (dropped: {dropped}; bad lines: {reading.bad}{first}); "
            "check the source and its settings"
        )
    _log.info("corpus %s: %d documents; dropped: %s", language, kept, dropped)
    if reading.bad:
        _log.warning("corpus %s: bad lines left out: %d, the first: %s", language, reading.bad, reading.examples[0])
    if language_check != "off" and not cleaner.checkable:
        _log.warning("corpus %s: the detector does not know this language; all is kept, unchecked", language)
