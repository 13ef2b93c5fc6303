"""What text every language has: documents, what cleaning dropped, and what other languages were detected."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.items.layout import Section
from lape.text.language_codes import base_language

# A share of documents in other languages from which on a corpus is marked, where its header names no limit.
_LIMIT = 0.5


def corpora(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The documents of every language's corpus.

    Args:
        paths: corpus headers, one for a language.

    Returns:
        one row per language. Columns: language, documents, bytes (of UTF-8), dropped_short, dropped_excluded,
        dropped_duplicate, dropped_other_language, share_other_language (of the documents before those are dropped;
        empty where no language was detected) and warning (empty where nothing is odd).

    Raises:
        LapeError: a language comes twice.
    """
    headers: dict[str, dict] = {}
    for path in paths:
        header = read_json(path, "corpus")
        if headers.setdefault(header["language"], header) is not header:
            raise LapeError(f"{path}: a second corpus of {header['language']}; pass each language's once")
    return pd.DataFrame(
        {
            "language": language,
            **{name: header[name] for name in ("documents", "bytes")},
            **{f"dropped_{why}": number for why, number in header["dropped"].items()},
            "share_other_language": header["share_other_language"],
            "warning": "; ".join(_warnings(header, headers)),
        }
        for language, header in headers.items()
    )


def _warnings(header: dict, headers: dict[str, dict]) -> list[str]:
    """What is odd about a corpus: many documents in another language, or the text of another language's corpus."""
    found, share = [], header["share_other_language"]
    if share is not None and share > header["parameters"].get("other_language", _LIMIT) / 2:
        own = base_language(header["language"])
        others = [code for code in header["detected_languages"] if code != own][:3]
        names = f" ({', '.join(others)})" if others else ""
        found.append(f"{share:.0%} of the documents are detected as another language{names}")
    text = set(header["outputs"].values())
    same = [name for name, other in headers.items() if other is not header and text & set(other["outputs"].values())]
    if same:
        found.append(f"the same text stands for {', '.join(same)}")
    return found


def corpora_sections(frame: pd.DataFrame) -> list[Section]:
    """Languages down."""
    frame = frame.set_index("language")
    cells = pd.DataFrame(
        {
            "documents": frame["documents"].map("{:,}".format),
            "MB": (frame["bytes"] / 1e6).map("{:,.2f}".format),
            "dropped": frame.filter(regex="^dropped_").sum(axis=1).map("{:,}".format),
            "in another language": [
                "not detected" if pd.isna(share) else f"{share:.1%}" for share in frame["share_other_language"]
            ],
            "warning": frame["warning"].astype(object).fillna(""),
        }
    )
    return [Section("Text of each language", "language", cells)]
