"""Which files a language's text is read from; the workflow imports it too: nothing but the standard library here."""

import glob
import os.path
from collections.abc import Mapping


def matching_files(pattern: str | Mapping[str, str], language: str) -> list[str]:
    """The files of one language, sorted; none where nothing matches.

    Args:
        pattern: glob in which `{language}` stands for the language, or a glob for each language.
        language: one that the mapping has, where there is one.
    """
    if isinstance(pattern, Mapping):
        pattern = pattern[language]
    pattern = pattern.replace("{language}", language)
    return sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
