"""Contexts of a method's neurons as artifacts: JSON lines, one neuron a line, that need neither model nor tokenizer."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lape.artifacts.files import checked, read_json, read_rows
from lape.contexts.card import Context
from lape.contexts.inspected import InLanguage, Inspection
from lape.errors import LapeError
from lape.model.sites import PLACE, layer_label

_IN_LANGUAGE = {
    **{"layer": int, "index": int, "share": float, "mean": float, "words_of_half": int},
    **{"low": float, "width": float, "histogram": list, "strongest": list, "below": list},
}
_WRITTEN = {"layer": int, "index": int, "raised": list, "lowered": list, "raised_share": dict, "lowered_share": dict}


def language_row(place: Mapping[str, object], found: InLanguage, low: float, width: float) -> dict:
    """The line of one neuron in one language.

    Args:
        place: where the neuron is, by the columns of `lape.model.sites.PLACE`.
        found: what it does in the language.
        low, width: see `Inspection`.
    """
    return {
        **place,
        **{"share": found.share, "mean": found.mean, "words_of_half": found.words_of_half},
        **{"low": low, "width": width, "histogram": found.histogram.tolist()},
        **{name: list(map(_written, getattr(found, name))) for name in ("strongest", "below")},
    }


def _written(context: Context) -> dict:
    values = [None if math.isnan(value) else float(f"{value:.4g}") for value in context.values]
    return {"document": context.document, "centre": context.centre, "tokens": context.tokens, "values": values}


def _context(row: Mapping) -> Context:
    values = [math.nan if value is None else value for value in row["values"]]
    return Context(row["tokens"], values, row["centre"], row["document"])


@dataclass(frozen=True)
class StoredContexts(Sequence[Inspection]):
    """The neurons of one method, in the order of their table, each with what was found of it.

    Attributes:
        model, method: what the neurons are of.
        languages: the languages in which the neurons were looked at.
        places: of each neuron the columns of `lape.model.sites.PLACE` that its table has.
    """

    model: str
    method: str
    languages: tuple[str, ...]
    places: list[dict[str, object]]
    _written: list[dict]
    _found: dict[str, list[dict]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Inspection:
        place, written = self.places[number], self._written[number]
        rows = {language: rows[number] for language, rows in self._found.items()}
        some = next(iter(rows.values()))
        expert = f" of expert {place['expert']}" if "expert" in place else ""
        return Inspection(
            name=f"neuron {place['index']}{expert} in {layer_label(place['layer'])}",
            languages={
                language: InLanguage(
                    *(row[name] for name in ("share", "mean", "words_of_half")),
                    np.array(row["histogram"], np.int64),
                    *(list(map(_context, row[name])) for name in ("strongest", "below")),
                )
                for language, row in rows.items()
            },
            **{name: written[name] for name in ("raised", "lowered", "raised_share", "lowered_share")},
            **{name: some[name] for name in ("low", "width")},
        )


def read(contexts: Iterable[Path], written: Path) -> StoredContexts:
    """Read the contexts of a method's neurons.

    Args:
        contexts: headers of the neurons' contexts, one per language.
        written: header of the words that the neurons write.

    Raises:
        LapeError: a file is missing or damaged, or the files are of different neurons.
    """
    header, rows = read_json(written, "vocabulary_effects"), read_written(written)
    places = list(map(_place, rows))
    found = {read_json(path, "contexts")["language"]: read_contexts(path) for path in contexts}
    for language, of_language in found.items():
        if list(map(_place, of_language)) != places:
            raise LapeError(f"contexts of {language}: are of other neurons than {written}; run both steps again")
    return StoredContexts(header["model"], header["method"], tuple(found), places, rows, found)


def read_contexts(path: Path) -> list[dict]:
    """The lines of one language, from the header beside them; see `language_row`.

    Raises:
        LapeError: a file is missing or damaged.
    """
    return read_rows(checked(path, read_json(path, "contexts"), ".jsonl"), _IN_LANGUAGE)


def read_written(path: Path) -> list[dict]:
    """The lines of what neurons write, from the header beside them; see `lape.contexts.written.written`.

    Raises:
        LapeError: a file is missing or damaged.
    """
    return read_rows(checked(path, read_json(path, "vocabulary_effects"), ".jsonl"), _WRITTEN)


def _place(row: Mapping) -> dict:
    return {name: row[name] for name in PLACE if name in row}


def places_of(table) -> Iterator[dict[str, object]]:
    """Where each neuron of a table is, by the columns of `lape.model.sites.PLACE` that it has."""
    columns = [name for name in PLACE if name in table]
    for row in table[columns].itertuples(index=False):
        yield {name: value if isinstance(value, str) else int(value) for name, value in zip(columns, row, strict=True)}


def lines(rows: Iterable[Mapping]) -> Iterator[str]:
    """Rows as JSON lines."""
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
