"""The paper's tables, and the data of its figures, as tidy frames: one observation a row.

An item of the paper is an entry of `TABLES`: which artifact it reads, how the rows are made and how people
see them. A new item is a module with those functions and an entry here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lape.errors import LapeError
from lape.items.answers import examples
from lape.items.answers import inputs as answers
from lape.items.answers import rows as generation
from lape.items.answers import sections as generation_sections
from lape.items.expert_units import sections as expert_sections
from lape.items.expert_units import texts as expert_texts
from lape.items.expert_units import translation as expert_translation
from lape.items.expert_units import units as expert_units
from lape.items.layout import Section, latex, markdown
from lape.items.neurons import agreement, pretraining, sharing, stability
from lape.items.neurons import counts as neurons
from lape.items.perplexity import rows as perplexity
from lape.items.perplexity import sections as perplexity_sections
from lape.items.structure import rows as structure

__all__ = ["TABLES", "Section", "Table", "latex", "markdown", "read", "subjects", "texts"]

# Codes, not numbers or missing values: "no" is Norwegian, "nan" is Southern Min.
_TEXT = ("model", "prompt", "method", "language", "other", "deactivated", "evaluated", "left_out", "target")
_TEXT += ("mode", "positions")


@dataclass(frozen=True)
class Table:
    """One item.

    Attributes:
        artifact: the kind of header that the item is made from, or several kinds.
        rows: reads those headers, in the order given, and returns the tidy frame; takes `parameters` by name.
        sections: lays a tidy frame out for people.
        data: which data files lie beside a header and are read too.
        parameters: the options of `lape table` that shape the rows, recorded in the table's header.
    """

    artifact: str | tuple[str, ...]
    rows: Callable[..., pd.DataFrame]
    sections: Callable[[pd.DataFrame], list[Section]]
    data: Callable[[str | Path], list[Path]] = lambda header: []
    parameters: tuple[str, ...] = ()


_BOOTSTRAP = perplexity.data, ("resamples", "seed")
_ANSWERS = answers.data, ("resamples", "seed")
_TEXTS = examples.data, ("resamples", "seed")
_UNITS = expert_units.data, ("size",)
_CHANGES = Table("perplexity", perplexity.changes, perplexity_sections.change_sections, *_BOOTSTRAP)
_DIAGONALITY = Table("perplexity", perplexity.diagonality, perplexity_sections.diagonality_sections, *_BOOTSTRAP)
_AGREEMENT = Table("neurons", agreement.agreement, agreement.agreement_sections, neurons.data)

TABLES = {
    "baseline": Table("perplexity", perplexity.baseline, perplexity_sections.baseline_sections),
    "deactivation": _CHANGES,
    "figure2": _CHANGES,
    "figure3": Table("perplexity", perplexity.changes, perplexity_sections.bits_sections, *_BOOTSTRAP),
    "figure4": Table("perplexity", perplexity.sweep, perplexity_sections.sweep_sections, *_BOOTSTRAP),
    "figure6": Table(structure.ARTIFACTS, structure.figure6, structure.figure6_sections, structure.data),
    "figure7": Table("embeddings", structure.figure7, structure.figure7_sections, structure.data),
    "figure8": _CHANGES,
    "diagonality": _DIAGONALITY,
    "table1": Table(answers.ARTIFACTS, generation.table1, generation_sections.table1_sections, *_ANSWERS),
    "table2": Table("scores", examples.table2, examples.table2_sections, examples.data, ("language",)),
    "table3": Table("neurons", neurons.counts, neurons.count_sections, neurons.data),
    "table4": Table(answers.ARTIFACTS, generation.table4, generation_sections.table4_sections, *_ANSWERS),
    "table5": Table("scores", examples.table5, examples.table5_sections, examples.data, ("source", "target")),
    "cross_lingual": Table(
        answers.ARTIFACTS, generation.cross_lingual, generation_sections.cross_lingual_sections, *_ANSWERS
    ),
    "dose_response": Table(answers.ARTIFACTS, generation.dose_response, generation_sections.dose_sections, *_ANSWERS),
    "tables6_10": Table("neurons", neurons.layer_counts, neurons.layer_sections, neurons.data),
    "sharing": Table("neurons", sharing.sharing, sharing.sharing_sections, neurons.data),
    "sharing_histogram": Table("neurons", sharing.sharing_histogram, sharing.histogram_sections, neurons.data),
    "table7": Table("neurons", pretraining.table7, pretraining.table7_sections, neurons.data),
    "agreement": _AGREEMENT,
    "stability": Table("stability", stability.stability, stability.stability_sections, stability.data),
    "stability_curve": Table("stability", stability.stability_curve, stability.curve_sections, stability.data),
    "left_out": Table("stability", stability.left_out, stability.left_out_sections, stability.data),
    "expert_agreement": _AGREEMENT,
    "expert_deactivation": _CHANGES,
    "expert_diagonality": _DIAGONALITY,
    "expert_share": Table("scores", expert_texts.share, expert_sections.share_sections, *_TEXTS),
    "expert_sizes": Table("scores", expert_texts.sizes, expert_sections.sizes_sections, *_TEXTS),
    "expert_translation": Table(
        "scores",
        expert_translation.translation,
        expert_sections.translation_sections,
        expert_translation.data,
        ("resamples", "seed"),
    ),
    "expert_steering": Table("scores", expert_texts.steering, expert_sections.steering_sections, *_TEXTS),
    "expert_overlap": Table("expert_units", expert_units.overlap, expert_sections.overlap_sections, *_UNITS),
    "expert_precision": Table(
        expert_units.ARTIFACTS, expert_units.precision, expert_sections.precision_sections, *_UNITS
    ),
    "expert_layers": Table("expert_units", expert_units.layers, expert_sections.layer_sections, *_UNITS),
    "expert_histogram": Table(
        expert_units.ARTIFACTS, expert_units.histogram, expert_sections.histogram_sections, *_UNITS
    ),
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
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT, str))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape table` first") from error
    except ValueError as error:
        raise LapeError(f"{path}: is not a table ({error}); delete it and run `lape table` again") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing or frame.empty:
        what = f"has no column {missing[0]!r}" if missing else "has no row"
        raise LapeError(f"{path}: {what}; pass the CSV that `lape table` wrote for this figure")
    # A row of all languages names none: an empty text is no missing number.
    return frame.fillna(dict.fromkeys(_TEXT, ""))


def texts(item: str, frame: pd.DataFrame) -> dict[str, str]:
    """A tidy frame of one item as text, by suffix: CSV for machines, Markdown and LaTeX for people."""
    sections = TABLES[item].sections(frame)
    return {
        ".csv": frame.to_csv(index=False, lineterminator="\n"),
        ".md": markdown(sections),
        ".tex": latex(sections, item),
    }


def subjects(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The models and, where rows name them, the languages of a tidy frame, in their order, for a header to record."""
    columns = ("language", "evaluated", "deactivated")
    language = next((column for column in columns if column in frame.columns), None)
    names = {"models": "model"} | ({"languages": language} if language else {})
    # A row of all languages names none.
    return {name: [text for text in frame[column].unique() if text] for name, column in names.items()}
