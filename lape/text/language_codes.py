"""Codes of languages: one mapping for all who compare them.

Users write "nb", "pt-BR", "zh-Hans" or "fra_Latn" (as FLORES-200 and GlotLID do), and detectors answer "no", "pt", "zh"
and "fr". What they mean is compared, not what they write.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

_Value = TypeVar("_Value")
# The written forms of Norwegian count as one language: detectors confuse them.
_ONE = {"nb": "no", "nn": "no"}
# Letters of the scripts that put no space between words: Thai, Lao, Tibetan, Burmese, Khmer, kana and Han.
UNSPACED = re.compile("[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


@cache
def base_language(code: str) -> str:
    """A code without script and region, of two letters where there is such a code: "zh-TW" and "cmn" are "zh".

    What is no code of a language is returned in lower case, as far as its first dash or underscore.
    """
    import langcodes  # here, as every start of Snakemake imports this module, and few need it

    try:
        language = langcodes.Language.get(code).prefer_macrolanguage().language or code
    except langcodes.LanguageTagError:
        language = code.lower().replace("_", "-").split("-")[0]
    return _ONE.get(language, language)


@cache
def script(code: str) -> str | None:
    """The script that a language is written in, such as "Latn"; the likeliest, where its code names none.

    None for what is no code of a language.
    """
    import langcodes

    try:
        return langcodes.Language.get(code).maximize().script
    except langcodes.LanguageTagError:
        return None


def entry_of(mapping: Mapping[str, _Value], code: str) -> _Value | None:
    """The value of a mapping from codes for a language, under its own code or another code of the same language."""
    if code in mapping:
        return mapping[code]
    return next((value for key, value in mapping.items() if base_language(key) == base_language(code)), None)
