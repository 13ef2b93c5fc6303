"""Language confusion of an answer, line by line and word by word.

The Language Confusion Benchmark (Marchisio et al. 2024, arXiv:2406.20052, section 3; compute_metrics.py of
for-ai/language-confusion) asks two things of an answer. Is every line in the wanted language? And where every line is
and the language has another script than Latin: is it free of English words? Three things differ here, as no list of
words and no tokenizer of Chinese and Japanese is at hand:

- Any word of Latin script counts that is in lower case and has four letters, whether it is an English one or not.
- A line of a script without spaces counts from `MINIMUM_BYTES` of its letters on, in place of five words.
- lid.176.ftz tells the languages, the compressed model, unless another file is named.
"""

import re
import string
from pathlib import Path

import numpy as np
import pandas as pd

from lape.text.identification import MINIMUM_BYTES, UNKNOWN, by_fasttext
from lape.text.language_codes import UNSPACED, base_language, script

RATES = ("line_pass_rate", "word_pass_rate", "confusion_pass_rate")
# The benchmark's: words of a line that counts, the probability from which its language is told, letters of a word.
_WORDS, _PROBABILITY, _LETTERS = 5, 0.3, 4
_PUNCTUATION = str.maketrans({**dict.fromkeys(string.punctuation + "،"), "—": " "})
_LATIN = re.compile("[A-Za-zÀ-ÖØ-öø-ɏ]+")


def confusion(text: str, fasttext: str | Path | None = None) -> dict[str, str | int]:
    """The columns of an answer's scores from which language confusion is told, whatever language is wanted.

    Args:
        text: the answer. Its punctuation is not read, as in the benchmark.
        fasttext: file of a model of fastText, see `lape.text.identification.load_fasttext`; None: the shipped one.

    Returns:
        line_languages (the codes of the lines that count, with spaces between them; "unknown" where no language has a
        probability of 0.3) and latin_words (the number of words of Latin script in these lines).

    Raises:
        LapeError: see `load_fasttext`.
    """
    lines = [line for line in text.translate(_PUNCTUATION).split("\n") if _counts(line)]
    codes = [by_fasttext(line, fasttext, _PROBABILITY) or UNKNOWN for line in lines]
    words = [word for line in lines for word in _LATIN.findall(line)]
    latin = sum(word.islower() and len(word) >= _LETTERS for word in words)
    return {"line_languages": " ".join(codes), "latin_words": latin}


def _counts(line: str) -> bool:
    """Whether a line is long enough for its language to be told."""
    unspaced = "".join(UNSPACED.findall(line))
    return len(line.split()) >= _WORDS or len(unspaced.encode()) >= MINIMUM_BYTES


def has_another_script(language: str) -> bool:
    """Whether a language is written in another script than Latin, so that Latin words are foreign to it."""
    return script(language) not in ("Latn", None)


def passes(table: pd.DataFrame, wanted: str) -> tuple[np.ndarray, np.ndarray]:
    """Which answers pass by line and by word, for a wanted language.

    Args:
        table: columns line_languages and latin_words of N answers.
        wanted: code of the language.

    Returns:
        two float64 [N] of 0 and 1. By line: every line is in the language; NaN without a line that counts. By word: no
        word is of Latin script; NaN where the answer does not pass by line, and for languages of Latin script. Their
        means are the benchmark's line-level (LPR) and word-level pass rate (WPR).
    """
    code = base_language(wanted)
    codes = table["line_languages"].str.split()
    by_line = np.array([float(set(found) == {code}) if found else np.nan for found in codes], dtype=float)
    by_word = (table["latin_words"].to_numpy() == 0).astype(float)
    tested = (by_line == 1) & has_another_script(wanted)
    return by_line, np.where(tested, by_word, np.nan)


def harmonic_mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The harmonic mean of two shares, 0 where both are 0. Of LPR and WPR: the language confusion pass rate (LCPR)."""
    return 2 * first * second / np.maximum(first + second, 1e-12)


def rates(table: pd.DataFrame, wanted: str) -> dict[str, float | None]:
    """The three pass rates of some answers; None where no answer has one, see `passes`.

    The language confusion pass rate is 0 where no answer passes by line.
    """
    line, word = (float(np.nanmean(each)) if (~np.isnan(each)).any() else None for each in passes(table, wanted))
    tested = line is not None and has_another_script(wanted)
    both = float(harmonic_mean(line, word or 0.0)) if tested else None
    return dict(zip(RATES, (line, word, both), strict=True))
