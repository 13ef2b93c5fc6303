"""Which files the text of a language is read from.

The Snakefile imports this module while it starts, so it imports nothing but the standard library.
"""

import glob
import os.path
from collections.abc import Mapping


def matching_files(pattern: str | Mapping[str, str], language: str) -> list[str]:
    """The files of one language, sorted; an empty list where nothing matches.

    Where nothing matches a glob with brackets, they are taken for a part of a name, as in "texts [v2]/*".

    Args:
        pattern: glob in which `{language}` stands for the language, or a mapping from language to glob.
        language: a language; where `pattern` is a mapping, one of its keys.
    """
    if isinstance(pattern, Mapping):
        pattern = pattern[language]
    pattern = pattern.replace("{language}", language)
    for each in dict.fromkeys((pattern, pattern.replace("[", "[[]"))):
        if files := sorted(filter(os.path.isfile, glob.glob(each, recursive=True))):
            return files
    return []
