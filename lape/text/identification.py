"""Which language a text is in, by two identifiers that share neither code nor data: langdetect and lingua.

The paper uses langdetect (Table 4). Neither identifier is told the run's languages: with few candidates, any text is
easily taken for one of them. A fastText model, such as lid.176.bin, is a third identifier where its file is given.
"""

import os
from functools import cache, partial
from pathlib import Path

from lape.errors import LapeError
from lape.text.language_codes import base_language

# langdetect draws random numbers.
SEED = 0
# Answers for a text that is too short, and for a text whose language an identifier does not tell.
SHORT, UNKNOWN = "short", "unknown"
# A text with fewer bytes of letters is too short to identify. Measured on beginnings of WikiLingua's sentences that
# have 20 bytes of letters, 300 in each of 18 languages: both identifiers name the language of 82 to 100% of them. The
# exceptions are Chinese (langdetect: 71%, the rest Korean) and Indonesian (lingua: 64%, the rest Malay).
MINIMUM_BYTES = 20


def count_letters(text: str) -> tuple[int, int]:
    """Alphabetic characters of a text, and their bytes in UTF-8.

    Bytes measure how much a text says more evenly over scripts than letters do: the same 40 questions have 961
    letters in Chinese and 2,623 in English, but 2,883 bytes of letters in Chinese and 2,624 in English.
    """
    letters = "".join(filter(str.isalpha, text))
    return len(letters), len(letters.encode())


def identify(text: str, minimum_bytes: int = MINIMUM_BYTES, fasttext: str | Path | None = None) -> dict[str, str]:
    """The most probable language of a whole text, by each of `IDENTIFIERS`, and by fastText where its model is given.

    Args:
        text: any text. langdetect reads its first 10,000 characters.
        minimum_bytes: a text with fewer bytes of letters (see `count_letters`) is too short: identifiers would guess.
        fasttext: file of a model whose labels are languages, such as "__label__fr" or "__label__fra_Latn".

    Returns:
        identifier -> a code in the form of `base_language`, "short", or "unknown" where the identifier tells none.

    Raises:
        LapeError: see `load_fasttext`.
    """
    detectors = IDENTIFIERS | ({"fasttext": partial(by_fasttext, path=fasttext)} if fasttext else {})
    if count_letters(text)[1] < minimum_bytes:
        return dict.fromkeys(detectors, SHORT)
    return {name: detect(text) or UNKNOWN for name, detect in detectors.items()}


def by_langdetect(text: str) -> str | None:
    """The language that langdetect tells; None where it tells none.

    langdetect is seeded anew for each text, so that the answer depends on the text alone.
    """
    from langdetect import LangDetectException

    detector = _langdetect().create()
    detector.append(text)
    try:
        detected = detector.detect()
    except LangDetectException:
        return None
    return None if detected == detector.UNKNOWN_LANG else base_language(detected)


def by_lingua(text: str) -> str | None:
    """The language that lingua tells, among all languages that it knows; None where it tells none."""
    detected = _lingua().detect_language_of(text)
    return None if detected is None else _code(detected)


def by_fasttext(text: str, path: str | Path) -> str | None:
    """The language that a model of fastText tells; None where it tells none. See `load_fasttext`."""
    labels = _predicted(path, " ".join(text.split()))  # fastText reads one line
    return _labelled(labels[0]) if labels else None


def fasttext_languages(path: str | Path) -> frozenset[str]:
    """Codes that a model of fastText can tell. See `load_fasttext`."""
    # With k=-1 the answer to any text holds every label. A threshold of 0 would leave improbable labels out.
    return frozenset(map(_labelled, _predicted(path, "", number=-1, threshold=-1.0)))


def _predicted(path: str | Path, line: str, number: int = 1, threshold: float = 0.0) -> list[str]:
    """The labels of a line, the most probable first.

    The model's own method is called: the package's `predict` around it fails with numpy 2.
    """
    predictions = load_fasttext(path).f.predict(f"{line}\n", number, threshold, "strict")
    return [label for _, label in predictions]


@cache
def load_fasttext(path: str | Path):
    """Load a fastText model with the package fasttext or fasttext-predict, which the user installs.

    Raises:
        LapeError: the package is not installed, or the file is no such model.
    """
    try:
        import fasttext
    except ImportError as error:
        raise LapeError(f"{path}: the package fasttext is not installed; `pip install fasttext-predict`") from error
    try:
        return fasttext.load_model(str(path))
    except (ValueError, MemoryError) as error:
        raise LapeError(f"{path}: is no model of fastText ({error}); fetch it again (lid.176.bin)") from error


# The identifiers that are always asked.
IDENTIFIERS = {"langdetect": by_langdetect, "lingua": by_lingua}


@cache
def known_languages(identifier: str) -> frozenset[str]:
    """Codes that one of `IDENTIFIERS` can tell."""
    if identifier == "langdetect":
        from langdetect.detector_factory import PROFILES_DIRECTORY

        # A profile's file has the name of its language; to load all profiles takes most of a second.
        return frozenset(map(base_language, os.listdir(PROFILES_DIRECTORY)))
    from lingua import Language

    return frozenset(map(_code, Language.all()))


@cache
def _langdetect():
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    # langdetect's own loader reads the profiles in the order of the file system, and adds probabilities in that order.
    profiles = sorted(Path(PROFILES_DIRECTORY).iterdir())
    factory.load_json_profile([profile.read_text(encoding="utf-8") for profile in profiles])
    factory.set_seed(SEED)
    return factory


@cache
def _lingua():
    from lingua import LanguageDetectorBuilder

    # High accuracy mode: in most alphabets the low accuracy mode knows 9 to 20% less of the shortest texts. From 120
    # letters on the modes are the same. Models load when needed, which takes at most 1.1 GiB and 6 s; preloading always
    # takes 1.3 GiB.
    return LanguageDetectorBuilder.from_all_languages().build()


def _labelled(label: str) -> str:
    return base_language(label.removeprefix("__label__"))


def _code(language) -> str:
    return base_language(language.iso_code_639_1.name)
