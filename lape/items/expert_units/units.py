"""Expert units (Kojima et al. 2024): how much languages share, how precise the units are, and where they lie."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json, sha256
from lape.errors import LapeError
from lape.paper import expert_units as paper

if TYPE_CHECKING:
    from lape.expert_units.selection import ExpertUnits

ARTIFACTS = ("expert_units", "average_precision")

# In a row of all pairs of languages.
ALL = ""
RANKINGS = ("top", "bottom", "random")
_OVERLAPS = {"top": ("top",), "bottom": ("bottom",), "both": ("top", "bottom"), "random": ("random",)}
_BINS = 50  # of 0.02


class _Selected(NamedTuple):
    """One model's units, as many of each ranking as a table is of."""

    model: str
    units: "ExpertUnits"
    size: int

    def ranked(self, language: str, *rankings: str) -> pd.DataFrame:
        """Rows of some rankings of a language."""
        table = self.units.table
        ranked = (table["language"] == language) & table["ranking"].isin(rankings) & (table["rank"] <= self.size)
        return table[ranked]


def data(header: str | Path) -> list[Path]:
    """The table of the units, or the array of their average precision, beside a header."""
    artifact = read_json(header).get("artifact")
    return [Path(header).with_suffix(".npy" if artifact == "average_precision" else ".tsv")]


def overlap(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """How many of their expert units two languages share.

    Args:
        paths: expert_units headers, one a model, each with its TSV beside it.
        size: units of the top, of the bottom and at random, of which both are twice as many, if the model has them;
            None: all of the ranking.

    Returns:
        Columns model, ranking (top, bottom, both, random), language, other (both `ALL` in a row over all pairs), units
        (of a language), shared, overlap (shared / units), expected (the overlap by chance, units / U), highest (of the
        overlaps) and paper (what the paper says they are below). A row for every pair of languages, the first before
        the other in the model's order, without the last two; then one over all pairs, with their means.

    Raises:
        LapeError: a model comes twice, or has fewer units than `size`.
    """
    rows = []
    for own in _read(paths, size):
        for ranking, parts in _OVERLAPS.items():
            sets = {language: own.ranked(language, *parts)["unit"].unique() for language in own.units.languages}
            pairs = []
            for (language, first), (other, second) in combinations(sets.items(), 2):
                # Where the top and the bottom meet, both are a few less in one language than in another.
                units, fewer = max(len(first), len(second)), min(len(first), len(second))
                shared = len(np.intersect1d(first, second))
                pair = {"language": language, "other": other, "units": units, "shared": shared}
                pairs.append(pair | {"overlap": shared / units, "expected": fewer / own.units.units})
            means = pd.DataFrame(pairs)[["units", "shared", "overlap", "expected"]].mean().to_dict()
            summary = {"highest": max(pair["overlap"] for pair in pairs)}
            summary["paper"] = np.nan if ranking == "random" else paper.OVERLAP
            every = {"language": ALL, "other": ALL, **means, **summary}
            rows += [{"model": own.model, "ranking": ranking, **row} for row in (*pairs, every)]
    return pd.DataFrame(rows)


def precision(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """Average precision of every language's expert units.

    Args:
        paths: expert_units and average_precision headers, one of each a model, with their data beside them.
        size: units of each ranking; None: all of it.

    Returns:
        Columns model, language, ranking (top, bottom, random), units, mean, lowest and highest (average precision of
        the response), negated_mean (of the negated response), chance (share of the language in the sentences), paper
        and difference (mean less the paper's), which are empty but for the top 1,000 of a model and the languages of
        the paper.

    Raises:
        LapeError: as `overlap`; a model lacks one of its headers, or the units were not selected by that average
            precision.
    """
    rows = []
    for own, header, _ in _with_precision(paths, size):
        printed = paper.expert_precision(own.model) if _as_in_paper(own) else pd.Series(dtype=float)
        for language in own.units.languages:
            for ranking in RANKINGS:
                block = own.ranked(language, ranking)
                values = block["average_precision"]
                known = printed.get(language, np.nan) if ranking == "top" else np.nan
                rows.append(
                    {
                        "model": own.model,
                        "language": language,
                        "ranking": ranking,
                        "units": len(block),
                        "mean": values.mean(),
                        "lowest": values.min(),
                        "highest": values.max(),
                        "negated_mean": block["negated_average_precision"].mean(),
                        "chance": header["positives"][language] / header["sentences"],
                        "paper": known,
                        "difference": values.mean() - known,
                    }
                )
    return pd.DataFrame(rows)


def layers(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """In which layers, and in which of their parts, every language's expert units lie.

    Args:
        paths: as for `overlap`.
        size: as for `precision`.

    Returns:
        Columns model, ranking (top, bottom, random), language, layer (from 1), kind (attention, ffn), part (q, k, up,
        ...), count, units (that the part has in the layer) and expected (count by chance); a row for every part that a
        layer has, also where it holds none.

    Raises:
        LapeError: as `overlap`.
    """
    place = ["layer", "kind", "part"]
    frames = []
    for own in _read(paths, size):
        widths = pd.DataFrame(
            (
                (one.layer, one.kind, part, one.width * width // sum(width for _, width in one.parts))
                for one in own.units.linear_layers
                for part, width in one.parts
            ),
            columns=[*place, "units"],
        )
        widths = widths.groupby(place, sort=False)["units"].sum()
        for ranking in RANKINGS:
            for language in own.units.languages:
                counts = own.ranked(language, ranking).groupby(place).size().reindex(widths.index, fill_value=0)
                frame = pd.DataFrame({"count": counts, "units": widths}).reset_index()
                frame["expected"] = frame["units"] * (frame["count"].sum() / own.units.units)
                frame["layer"] += 1
                names = {"model": own.model, "ranking": ranking, "language": language}
                frames.append(frame.assign(**names)[[*names, *frame.columns]])
    return pd.concat(frames, ignore_index=True)


def histogram(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """How the average precision of all units is distributed, by language.

    Args:
        paths: as for `precision`.
        size: units of the top, whose lowest average precision is the cut; None: all of the ranking.

    Returns:
        Columns model, language, low, high (bounds of the average precision, in steps of 0.02; 1 is in the last), count,
        cumulative (units up to there), chance (as in `precision`) and cut.

    Raises:
        LapeError: as `precision`.
    """
    edges = np.arange(_BINS + 1) / _BINS
    frames = []
    for own, header, values in _with_precision(paths, size):
        for place, language in enumerate(header["languages"]):
            count, _ = np.histogram(values[0, place], edges)
            frames.append(
                pd.DataFrame(
                    {
                        "model": own.model,
                        "language": language,
                        "low": edges[:-1],
                        "high": edges[1:],
                        "count": count,
                        "cumulative": count.cumsum(),
                        "chance": header["positives"][language] / header["sentences"],
                        "cut": own.ranked(language, "top")["average_precision"].min(),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _read(paths: Iterable[str | Path], size: int | None) -> list[_Selected]:
    """The selected units of every model, in the order given."""
    from lape.expert_units.selection import ExpertUnits  # loads torch, which no other table needs

    found: dict[str, _Selected] = {}
    for path in paths:
        units = ExpertUnits.load(path)
        model, number = units.summary["model"], units.summary["number"]
        if model in found:
            raise LapeError(f"{path}: a second set of units of {model}; pass each expert_units header once")
        # A model may have no more units than that.
        own = number if size is None else min(size, units.units)
        if not 1 <= own <= number:
            raise LapeError(f"{path}: has rankings of {number} units, not of {size}; change --size or select more")
        found[model] = _Selected(model, units, own)
    return list(found.values())


def _with_precision(paths: Sequence[str | Path], size: int | None) -> list[tuple[_Selected, dict, np.ndarray]]:
    """The same, with the header and the array [2, K, U] of the average precision of all units."""
    headers = {path: read_json(path) for path in map(Path, paths)}
    selected = _read((path for path, header in headers.items() if header["artifact"] == "expert_units"), size)
    found = {header["model"]: path for path, header in headers.items() if header["artifact"] == "average_precision"}
    rows = []
    for own in selected:
        if own.model not in found:
            raise LapeError(f"average precision of {own.model}: missing; pass its header beside that of its units")
        path = found[own.model]
        header = headers[path]
        # Its header names the hash of the array, which `checked` compares.
        if sha256(path) not in own.units.summary["inputs"].values():
            raise LapeError(
                f"{path}: is not what the units of {own.model} were selected by; run `lape select_units` again"
            )
        rows.append((own, header, read_array(checked(path, header, ".npy"), mmap=True)))
    return rows


def _as_in_paper(own: _Selected) -> bool:
    """Among other languages, or in another number, other units are precise."""
    return own.size == paper.NUMBER and set(own.units.languages) == set(paper.LANGUAGES)
