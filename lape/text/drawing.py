"""Drawing sentences from a source: which sentences are usable, and in which order they are taken.

A document is a text of the corpus, a file's line, or a row of a dataset. Documents are ordered by a hash of seed and
id, in the order in which tokens are sampled too. They take turns: one sentence of each document, then a second
sentence of each. Two things follow. A few long documents never make up the whole sample. Where the rows of a dataset
are translations of one another, every language gets the same rows, as far as they are usable.
"""

import hashlib
import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from lape.errors import LapeError
from lape.text import files
from lape.text.hub_datasets import dataset_name, dataset_rows, require_columns, with_languages
from lape.text.identification import MINIMUM_BYTES, count_letters
from lape.text.reading import Reading
from lape.text.splitting import split_sentences
from lape.text.stored import StoredCorpus
from lape.text.tokens import split_rows

Sentence = tuple[str, str]  # id, text
Pool = dict[str, Iterator[Sentence]]  # "scored", "held_out"


@dataclass
class Drawing:
    """Which sentences `build_sentences` wants, and how many it left out.

    Attributes:
        dropped: reason -> number of sentences that were looked at and left out for it.
    """

    number: int
    held_out: int
    seed: int
    minimum_bytes: int = MINIMUM_BYTES  # of letters: fewer do not tell which language a sentence is in
    maximum_characters: int = 300  # holds 97 to 100% of the sentences of WikiLingua in each of 18 languages
    dropped: dict[str, int] = field(default_factory=lambda: {"short": 0, "long": 0, "duplicate": 0})
    _seen: set[str] = field(default_factory=set)

    def usable(self, identity: str, texts: Iterable[str]) -> list[Sentence]:
        """The usable sentences of one document in the order of the draw; ids are `<document>#<number, from 1>`."""
        kept = [(f"{identity}#{number}", text.strip()) for number, text in enumerate(texts, 1) if not self._fault(text)]
        return sorted(kept, key=lambda sentence: hashlib.sha256(f"{self.seed}:{sentence[0]}".encode()).digest())

    def _fault(self, text: str) -> str | None:
        """The reason to leave a sentence out, which is counted; None where the sentence is usable."""
        reason = None
        if count_letters(text)[1] < self.minimum_bytes:
            reason = "short"
        elif len(text) > self.maximum_characters:
            reason = "long"
        elif comparable(text) in self._seen:
            reason = "duplicate"
        else:
            self._seen.add(comparable(text))
        if reason:
            self.dropped[reason] += 1
        return reason

    def report(self) -> str:
        """How many sentences were left out for which reason, as messages say it."""
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())

    def pool(self, documents: Mapping[str, Sequence[str]]) -> Pool:
        """Split documents of few sentences each into scored and held out, in the proportion of the wanted numbers."""
        rows = {identity: kept for identity, texts in documents.items() if (kept := self.usable(identity, texts))}
        share = self.held_out / (self.number + self.held_out)
        sentences = list(rows.values())

        def of(split: str) -> Iterator[Sentence]:
            return in_turn(sentences[row] for row in split_rows(list(rows), split, share, self.seed))

        return {"scored": of("train"), "held_out": of("valid")}


def comparable(text: str) -> str:
    """The form in which texts are compared: case-folded, with one space for any run of white space."""
    return " ".join(text.casefold().split())


def in_turn(documents: Iterable[Iterable[Sentence]]) -> Iterator[Sentence]:
    """Yield the first sentence of every document, then the second of every one that has another, and so on."""
    pending: Iterable[Iterator[Sentence]] = map(iter, documents)
    while pending:
        left = []
        for document in pending:
            if sentence := next(document, None):
                yield sentence
                left.append(document)
        pending = left


def read_corpus(
    language: str, reading: Reading, drawing: Drawing, *, corpus: str | Path, valid_share: float
) -> dict[str, Pool]:
    """Sentences of the run's own corpus.

    Scored sentences come from the documents of the train split, held-out sentences from those of the valid split.

    Args:
        language: the corpus's language.
        reading: takes note of the files.
        drawing: what is wanted; its seed is the one by which the tokens were sampled.
        corpus: the Parquet file of documents.
        valid_share: share of the documents kept for evaluation, see `lape.text.tokens.split_rows`.

    Raises:
        LapeError: the corpus is of another language, or cannot be read.
    """
    stored = StoredCorpus.of(corpus, language, reading)

    def of(split: str) -> Iterator[Sentence]:
        # A document is split into sentences only when its turn comes: a large corpus has far more than are needed.
        rows = stored.rows(split, valid_share, drawing.seed)
        return in_turn(
            drawing.usable(stored.ids[row], split_sentences(text))
            for row, text in zip(rows, stored.texts(rows), strict=True)
        )

    return {str(corpus): {"scored": of("train"), "held_out": of("valid")}}


def read_hub(language: str, reading: Reading, drawing: Drawing, *, datasets: Sequence[Mapping]) -> dict[str, Pool]:
    """Sentences of datasets of the Hugging Face hub, equally many from each dataset.

    Kojima et al. (2024) take PAWS-X and FLORES-200.

    Args:
        language: the language to read.
        reading: takes note of unusable rows.
        drawing: what is wanted.
        datasets: per dataset the keyword arguments of `read_dataset`.

    Raises:
        LapeError: no dataset or one twice, a setting is missing, unknown or of another type, a dataset cannot be read
            or lacks a column.
    """
    if not isinstance(datasets, Sequence) or not all(isinstance(settings, Mapping) for settings in datasets):
        raise LapeError(
            f"sentences.hub.datasets: {datasets!r} is no list of datasets; give each a path, split and text_columns"
        )
    pools: dict[str, Pool] = {}
    labels: Counter[str] = Counter()
    for settings in datasets:
        try:
            inspect.signature(read_dataset).bind(language, reading, **settings)
        except TypeError as error:
            raise LapeError(f"settings of sentences source hub: {error}; correct sentences.hub.datasets") from error
        name = f"{dataset_name(settings['path'], settings.get('config'))}, {settings['split']}"
        if name in pools:
            raise LapeError(f"sentences.hub.datasets: {name} is there twice; name it once")
        # The draw is ordered by a hash of the ids. They name no folder, so that machines agree, and no language, so
        # that all languages take the same rows.
        label = f"{Path(settings['path']).name}.{settings['split']}"
        labels[label] += 1
        label += f".{labels[label]}" if labels[label] > 1 else ""
        documents = read_dataset(language, reading, **settings)
        pools[name] = drawing.pool({f"{label}:{row}": texts for row, texts in documents.items()})
    if not pools:
        raise LapeError("sentences.hub.datasets: names none; add one, or set another source")
    return pools


def read_dataset(
    language: str,
    reading: Reading,
    *,
    path: str,
    split: str,
    text_columns: Sequence[str],
    config: str | None = None,
    revision: str | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[int, list[str]]:
    """The texts of each row of a dataset, by the row's number from 0.

    Args:
        language: the language to read.
        reading: takes note of unusable texts.
        path: the dataset's name on the hub, or a local folder.
        split: split to read.
        text_columns: columns that hold a sentence each.
        config: configuration, in which `{language}` stands for the language; None for the only one.
        revision: commit of the dataset; a local folder has none.
        names: language -> what the dataset calls it, such as eng_Latn; None where it uses the run's codes.

    Raises:
        LapeError: the dataset cannot be reached or read, it lacks the configuration, the split or a column, or
            `text_columns` is no list.
    """
    config = with_languages(config, names, language=language)
    if isinstance(text_columns, str) or not isinstance(text_columns, Sequence):
        raise LapeError(
            f"dataset {dataset_name(path, config)}: text_columns {text_columns!r} is no list of columns; put it in [ ]"
        )
    documents: dict[int, list[str]] = {}
    with closing(dataset_rows(path, config, revision, split)) as rows:
        for number, row in enumerate(rows):
            require_columns(row, text_columns, dataset_name(path, config))
            where = f"{Path(path).name} row {number}"
            documents[number] = [
                row[column] for column in text_columns if reading.document(f"{where} {column}", number, row[column])
            ]
    return documents


def read_files(
    language: str,
    reading: Reading,
    drawing: Drawing,
    *,
    pattern: str | Mapping[str, str],
    text_column: str = "text",
) -> dict[str, Pool]:
    """Sentences of the user's files: one per line of `.txt`, one per text of JSON lines and Parquet.

    Args:
        language: the language to read.
        reading: takes note of files and of unusable lines.
        drawing: what is wanted.
        pattern: glob in which `{language}` stands for the language, or a glob for each language.
        text_column: column of JSON lines and Parquet that holds the sentence.

    Raises:
        LapeError: see `lape.text.files.read_files`.
    """
    documents = files.read_files(language, reading, pattern=pattern, text_column=text_column, id_column=None)
    lines = {
        f"{identity}:{number}" if "\n" in text else identity: [line]
        for identity, text in documents
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1)
    }
    return {"the files": drawing.pool(lines)}


SOURCES = {"corpus": read_corpus, "hub": read_hub, "files": read_files}
