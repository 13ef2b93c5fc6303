"""Which documents of a source stay in the corpus, and which scripts and languages they are written in.

A document is kept or dropped whole. Its text is never changed: no Unicode normalisation, no stripping.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context

from lape.errors import LapeError
from lape.text.identification import IDENTIFIERS, known_languages
from lape.text.language_codes import base_language

CHECKS = ("keep", "drop", "off")
# The identifier that detects languages unless a caller names another, see bench/README.md.
IDENTIFIER = "fasttext"
_SAMPLE = 500  # characters at a document's start by which its language is detected
_BATCH = 512  # documents whose languages are detected at once
# Identifiers of which a second process saves less than it costs to start.
_FAST = ("fasttext", "heliport")


class Cleaner:
    """Decide on documents one after another, and count what was dropped.

    Args:
        language: the language that the documents should be in.
        language_check: "keep" detects the language of each document. "drop" detects it and drops documents in another
            language, unless the detector does not know `language`. "off" does not detect.
        minimum_characters: shorter documents are dropped.
        exclude: regular expression. Documents in which it is found are dropped, such as those with scraped mark-up.
        identifier: detects languages, one of `lape.text.identification.IDENTIFIERS`.

    Attributes:
        dropped: reason -> number of documents dropped for it.
        detected: detected language -> number of documents kept.
        undetected: number of documents kept whose language cannot be told, such as documents of digits.
        checkable: whether the detector knows `language`.

    Raises:
        LapeError: `exclude` is no regular expression, or the identifier's package is not installed.
    """

    def __init__(
        self,
        language: str,
        language_check: str,
        minimum_characters: int,
        exclude: str | None = None,
        identifier: str = IDENTIFIER,
    ):
        self._language, self._check = base_language(language), language_check
        self._minimum, self._identifier = minimum_characters, identifier
        try:
            self._exclude = None if exclude is None else re.compile(exclude)
        except re.error as error:
            raise LapeError(
                f"exclude: {exclude!r} is not a regular expression ({error}); mend corpus.exclude"
            ) from error
        self.dropped = {"short": 0, "excluded": 0, "duplicate": 0, "other_language": 0}
        self.detected: Counter[str] = Counter()
        self.undetected = 0
        known = known_languages(identifier) if language_check != "off" else frozenset()
        self.checkable = self._language in known
        self._identities: set[bytes] = set()
        self._texts: set[bytes] = set()

    @property
    def share_of_others(self) -> float | None:
        """Share of the documents, those dropped for it included, that were detected in another language.

        None where the detector does not know the wanted one, or was not asked.
        """
        if not self.checkable:
            return None
        gone = self.dropped["other_language"]
        others = self.detected.total() - self.detected[self._language] + gone
        return round(others / (self.detected.total() + self.undetected + gone), 6)

    def clean(self, documents: Iterable[tuple[str, str]], threads: int = 1) -> Iterator[tuple[str, str]]:
        """Yield the documents that stay in the corpus, as (id, text), in the order of the source.

        Args:
            documents: all documents of the source, as (id, text).
            threads: processes that detect languages, where the identifier is slow.

        Raises:
            LapeError: two documents have the same id.
        """
        candidates = (document for document in documents if self._admits(*document))
        if self._check == "off":
            yield from candidates
            return
        with _detector(self._identifier, threads) as detect:
            while batch := list(islice(candidates, _BATCH)):
                languages = detect([text[:_SAMPLE] for _, text in batch])
                yield from (document for document, detected in zip(batch, languages, strict=True) if self._is(detected))

    def _admits(self, identity: str, text: str) -> bool:
        """Whether a document may stay as far as its id, length and text go; its language is another question."""
        if not _add(self._identities, identity):
            raise LapeError(f"document {identity!r}: a second one has this id; make ids unique or number the lines")
        if len(text) < self._minimum:
            self.dropped["short"] += 1
            return False
        if self._exclude is not None and self._exclude.search(text):
            self.dropped["excluded"] += 1
            return False
        if not _add(self._texts, text):
            self.dropped["duplicate"] += 1
            return False
        return True

    def _is(self, detected: str | None) -> bool:
        """Whether a document stays whose language was detected as `detected`; count it either way."""
        if self._check == "drop" and self.checkable and detected not in (None, self._language):
            self.dropped["other_language"] += 1
            return False
        if detected is None:
            self.undetected += 1
        else:
            self.detected[detected] += 1
        return True


@contextmanager
def _detector(identifier: str, threads: int) -> Iterator[Callable[[list[str]], Iterable[str | None]]]:
    """Give a function that maps texts to their languages, in several processes where the identifier is slow."""
    detect = partial(detect_language, identifier=identifier)
    if threads == 1 or identifier in _FAST:
        yield partial(map, detect)
        return
    # Processes are spawned, not forked: a streamed dataset has threads, and a fork of a threaded process may hang.
    with ProcessPoolExecutor(threads, get_context("spawn")) as pool:
        yield partial(pool.map, detect, chunksize=16)


def _add(known: set[bytes], text: str) -> bool:
    """Add the fingerprint of a text, 128 bits so that large corpora fit in memory; False if it was known before."""
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).digest()
    if fingerprint in known:
        return False
    known.add(fingerprint)
    return True


def detect_language(text: str, identifier: str = IDENTIFIER) -> str | None:
    """The language code that an identifier gives the first 500 characters of a text; None where it cannot tell."""
    return IDENTIFIERS[identifier](text[:_SAMPLE])


# Letters whose name does not begin with their script.
_UNUSUAL_NAMES = {"MASCULINE": "LATIN", "FEMININE": "LATIN", "KATAKANA-HIRAGANA": "KATAKANA"}


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    word = name.partition(" ")[0]
    return _UNUSUAL_NAMES.get(word, word)


def script_shares(characters: Mapping[str, int]) -> dict[str, float]:
    """Share of the letters in each Unicode script, largest first.

    The name of a script is the first word of its letters' Unicode names: LATIN, CJK, HIRAGANA, ...

    Args:
        characters: character -> how often it occurs.
    """
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            scripts[_script(character)] += count
    total = scripts.total()
    return {script: round(n / total, 6) for script, n in sorted(scripts.items(), key=lambda item: (-item[1], item[0]))}
