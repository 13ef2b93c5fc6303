"""Tidy tables, with one observation per row: read from CSV, and written as text for machines and for people."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.errors import LapeError
from lape.items.layout import latex, markdown, page
from lape.items.registry import TABLES

# These columns are text, not numbers or missing values: "no" is Norwegian, and "nan" is Southern Min.
_TEXT = (
    "model",
    "prompt",
    "task",
    "method",
    "control_method",
    "language",
    "other",
    "deactivated",
    "evaluated",
    "left_out",
    "target",
)
_TEXT += ("mode", "positions", "claim", "section", "statistic", "verdict")


def read(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a tidy CSV back, numbers to the last bit and language codes as text.

    Args:
        path: a table written by `lape table`.
        columns: columns that the caller needs.

    Raises:
        LapeError: the file is missing or empty, is no CSV, or is the table of another item.
    """
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT, str))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape table` first") from error
    except ValueError as error:
        raise LapeError(f"{path}: is not a table ({error}); {_pass_csv(path)}") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        what = f"has no column {missing[0]!r}" if missing else "has no row"
        raise LapeError(f"{path}: {what}; {_pass_csv(path)}")
    # A row of all languages names no language. Its cell is an empty text, not a missing number.
    return frame.fillna(dict.fromkeys(_TEXT, ""))


def _pass_csv(path: str | Path) -> str:
    """The remedy where another file than the table of a figure was given."""
    table = Path(path).with_suffix(".csv")
    beside = table != Path(path) and table.is_file()
    return f"pass {table}" if beside else "pass the CSV that `lape table` wrote for this figure"


def texts(item: str, frame: pd.DataFrame) -> dict[str, str]:
    """A tidy frame of one item as text: CSV for machines, Markdown, HTML, and LaTeX, where each table has a file.

    The keys are what follows the stem of the table's path: ".csv", ".md", ".html", and ".latex/<item>-1.tex" and so on.
    """
    sections = TABLES[item].sections(frame)
    return {
        ".csv": frame.to_csv(index=False, lineterminator="\n"),
        ".md": markdown(sections),
        ".html": page(TABLES[item].title, sections),
        **{f".latex/{name}": text for name, text in latex(sections, item).items()},
    }


def subjects(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The models and the languages of a tidy frame, where rows name them, in their order, for a header to record."""
    columns = ("language", "evaluated", "deactivated")
    language = next((column for column in columns if column in frame.columns), None)
    names = {"models": "model", "languages": language}
    # A row of all languages names none.
    return {
        name: [text for text in frame[column].unique() if text]
        for name, column in names.items()
        if column in frame.columns
    }
