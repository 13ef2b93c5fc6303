"""The paper's tables, and the data of its figures, as tidy frames: one observation a row.

An item of the paper is an entry of `TABLES`: which artifact it reads, how the rows are made and how people
see them. A new item is a module with those functions and an entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lape.errors import LapeError
from lape.tables import neurons, perplexity
from lape.tables.layout import Section, latex, markdown

__all__ = ["TABLES", "Section", "Table", "latex", "markdown", "read", "subjects", "texts"]

# Codes, not numbers or missing values: "no" is Norwegian, "nan" is Southern Min.
_TEXT = ("model", "method", "language", "deactivated", "evaluated")


@dataclass(frozen=True)
class Table:
    """One item.

    Attributes:
        artifact: the kind of header that the item is made from.
        rows: reads those headers, in the order given, and returns the tidy frame.
        sections: lays a tidy frame out for people.
        data: which data files lie beside a header and are read too.
    """

    artifact: str
    rows: Callable[[Sequence[str | Path]], pd.DataFrame]
    sections: Callable[[pd.DataFrame], list[Section]]
    data: Callable[[str | Path], list[Path]] = lambda header: []


_LAYERS = Table("neurons", neurons.layer_counts, neurons.layer_sections, neurons.data)

TABLES = {
    "figure2": Table("perplexity", perplexity.changes, perplexity.change_sections),
    "baseline": Table("perplexity", perplexity.baseline, perplexity.baseline_sections),
    "table3": Table("neurons", neurons.counts, neurons.count_sections, neurons.data),
    "tables6_10": _LAYERS,
    "figure5": _LAYERS,
}


def read(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a tidy CSV back, numbers to the last bit and language codes as text.

    Args:
        path: a table written by `lape table`.
        columns: columns that the caller needs.

    Raises:
        LapeError: missing, empty, not a CSV, or another item's table.
    """
    try:
        frame = pd.read_csv(path, na_filter=False, dtype=dict.fromkeys(_TEXT, str))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape table` first") from error
    except ValueError as error:
        raise LapeError(f"{path}: is not a table ({error}); delete it and run `lape table` again") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        what = f"has no column {missing[0]!r}" if missing else "has no row"
        raise LapeError(f"{path}: {what}; pass the CSV that `lape table` wrote for this figure")
    return frame


def texts(item: str, frame: pd.DataFrame) -> dict[str, str]:
    """A tidy frame of one item as text, by suffix: CSV for machines, Markdown and LaTeX for people."""
    sections = TABLES[item].sections(frame)
    return {
        ".csv": frame.to_csv(index=False, lineterminator="\n"),
        ".md": markdown(sections),
        ".tex": latex(sections, item),
    }


def subjects(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The models and the languages of a tidy frame by name, in their order, for a header to record."""
    language = "language" if "language" in frame.columns else "evaluated"
    return {"models": list(frame["model"].unique()), "languages": list(frame[language].unique())}
