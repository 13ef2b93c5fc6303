"""What is kept of a source's documents, and what a text's letters and language say about it.

The text itself is never changed: no Unicode normalisation, no stripping.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from lape.errors import LapeError
from lape.identification import by_langdetect, known_languages

CHECKS = ("keep", "drop", "off")
_SAMPLE = 2000  # characters of a document that are looked at to detect its language


class Cleaner:
    """Decide on documents one after another, and count what was dropped.

    Args:
        language: the language that the documents should be in.
        language_check: "keep" detects each document's language, "drop" drops the others too, "off" does not detect.
        minimum_characters: shorter documents are dropped.
        exclude: regular expression; documents in which it is found are dropped (mark-up that was scraped along).

    Attributes:
        dropped: documents dropped for each reason.
        detected: language and number of the documents kept, without those of no detectable language.
        undetected: number of the documents kept whose language cannot be told (only digits, for example).
        checkable: whether the detector knows `language`.

    Raises:
        LapeError: documents in other languages shall be dropped, but the detector does not know `language`;
            or `exclude` is no regular expression.
    """

    def __init__(self, language: str, language_check: str, minimum_characters: int, exclude: str | None = None):
        self._language, self._check, self._minimum = language, language_check, minimum_characters
        try:
            self._exclude = None if exclude is None else re.compile(exclude)
        except re.error as error:
            raise LapeError(
                f"exclude: {exclude!r} is not a regular expression ({error}); mend corpus.exclude"
            ) from error
        self.dropped = {"short": 0, "excluded": 0, "duplicate": 0, "other_language": 0}
        self.detected: Counter[str] = Counter()
        self.undetected = 0
        known = known_languages("langdetect") if language_check != "off" else frozenset()
        self.checkable = language in known
        self._identities: set[bytes] = set()
        self._texts: set[bytes] = set()
        if language_check == "drop" and not self.checkable:
            raise LapeError(
                f"language_check: {language!r} cannot be detected, only {', '.join(sorted(known))}; set it to keep"
            )

    def keeps(self, identity: str, text: str) -> bool:
        """Whether a document stays in the corpus.

        Raises:
            LapeError: another document has the same id.
        """
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
        if self._check == "off":
            return True
        detected = detect_language(text)
        if self._check == "drop" and detected not in (None, self._language):
            self.dropped["other_language"] += 1
            return False
        if detected is None:
            self.undetected += 1
        else:
            self.detected[detected] += 1
        return True


def _add(known: set[bytes], text: str) -> bool:
    """Add a text's fingerprint (128 bits, so that large corpora fit in memory); False if it was there."""
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).digest()
    if fingerprint in known:
        return False
    known.add(fingerprint)
    return True


def detect_language(text: str) -> str | None:
    """Code of the language of a text's first 2,000 characters, by langdetect; None where it cannot be told."""
    return by_langdetect(text[:_SAMPLE])


# Letters whose name does not begin with their script.
_UNUSUAL_NAMES = {"MASCULINE": "LATIN", "FEMININE": "LATIN", "KATAKANA-HIRAGANA": "KATAKANA"}


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    word = name.partition(" ")[0]
    return _UNUSUAL_NAMES.get(word, word)


def script_shares(characters: Mapping[str, int]) -> dict[str, float]:
    """Share of the letters in each Unicode script, largest first.

    A script is named by the first word of its characters' names: LATIN, CJK, HIRAGANA, ...

    Args:
        characters: number of each character.
    """
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            scripts[_script(character)] += count
    total = scripts.total()
    return {script: round(n / total, 6) for script, n in sorted(scripts.items(), key=lambda item: (-item[1], item[0]))}
