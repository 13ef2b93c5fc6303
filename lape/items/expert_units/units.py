"""Expert units (Kojima et al. 2024): how many two languages share, how precise they are, and where they lie."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json, sha256
from lape.errors import LapeError
from lape.items.layers import with_index
from lape.paper import expert_units as paper

if TYPE_CHECKING:
    from lape.expert_units.selection import ExpertUnits

ARTIFACTS = ("expert_units", "average_precision")

# The languages in a row over all pairs of languages.
ALL = ""
RANKINGS = ("top", "bottom", "random")
_OVERLAPS = {"top": ("top",), "bottom": ("bottom",), "both": ("top", "bottom"), "random": ("random",)}
_BINS = 50  # each 0.02 wide


class _Selected(NamedTuple):
    """One model's units, and how many of each ranking (`size`) a table uses."""

    model: str
    units: "ExpertUnits"
    size: int

    def ranked(self, language: str, *rankings: str) -> pd.DataFrame:
        """The rows of a language's first units in some rankings."""
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
        paths: expert_units headers, one per model, each with its TSV beside it.
        size: number of units in each of the rankings top, bottom and random, as far as the model has so many. The
            ranking both has twice as many. None takes all units of a ranking.

    Returns:
        one row per model, ranking and pair of languages, and one with the means over all pairs. In a pair the first
        language comes before the other in the model's order. Columns:
        - model, ranking (top, bottom, both, random), language, other. In the row over all pairs, language and other are
          `ALL`;
        - units (of one language), shared, overlap (shared / units), expected (overlap by chance, units / U);
        - highest (largest overlap of a pair) and paper (the paper's upper bound of the overlaps). Both are empty in the
          rows of pairs.

    Raises:
        LapeError: a model comes twice, or has fewer units than `size`.
    """
    rows = []
    for own in _read(paths, size):
        for ranking, parts in _OVERLAPS.items():
            sets = {language: own.ranked(language, *parts)["unit"].unique() for language in own.units.languages}
            pairs = []
            for (language, first), (other, second) in combinations(sets.items(), 2):
                # In a small model the top and the bottom meet. Both together are then fewer units than twice the size,
                # by a number that differs from language to language.
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
        paths: expert_units and average_precision headers, one of each per model, with their data beside them.
        size: number of units in each ranking; None takes all units.

    Returns:
        one row per model, language and ranking. Columns:
        - model, language, ranking (top, bottom, random), units;
        - mean, lowest and highest (average precision of the response), negated_mean (average precision of the negated
          response), chance (share of the language in the sentences);
        - rescored (measured anew on the outputs that the paper's authors released) and difference (mean less rescored).
          They are empty except for the top 1,000 units of a model and the languages of the paper.

    Raises:
        LapeError: see `overlap`; or a model lacks one of its headers, or its units were selected by another average
            precision.
    """
    rows = []
    for own, header, _ in _with_precision(paths, size):
        released = paper.expert_precision(own.model) if _as_in_paper(own) else pd.Series(dtype=float)
        for language in own.units.languages:
            for ranking in RANKINGS:
                block = own.ranked(language, ranking)
                values = block["average_precision"]
                known = released.get(language, np.nan) if ranking == "top" else np.nan
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
                        "rescored": known,
                        "difference": values.mean() - known,
                    }
                )
    return pd.DataFrame(rows)


def layers(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """In which layers, and in which of their parts, every language's expert units lie.

    Args:
        paths: see `overlap`.
        size: see `precision`.

    Returns:
        one row per model, ranking, language and part of a layer, also where the part holds no expert unit. Columns:
        model, ranking (top, bottom, random), language, layer (from 1), layer_index (from 0), kind (attention, ffn),
        part (q, k, up, ...), count, units (all units of the part in the layer) and expected (count by chance).

    Raises:
        LapeError: see `overlap`.
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
    return with_index(pd.concat(frames, ignore_index=True))


def histogram(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """How the average precision of all units is distributed, for every language.

    Args:
        paths: see `precision`.
        size: number of units in the top; None takes all units of that ranking.

    Returns:
        one row per model, language and bin. Columns: model, language, low and high (bounds of the average precision, in
        steps of 0.02; the last bin includes 1), count, cumulative (units below `high`), chance (as in `precision`) and
        cut (lowest average precision of the top).

    Raises:
        LapeError: see `precision`.
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
        # A small model may have fewer units than are asked for.
        own = number if size is None else min(size, units.units)
        if not 1 <= own <= number:
            raise LapeError(f"{path}: has rankings of {number} units, not of {size}; change --size or select more")
        found[model] = _Selected(model, units, own)
    return list(found.values())


def _with_precision(paths: Sequence[str | Path], size: int | None) -> list[tuple[_Selected, dict, np.ndarray]]:
    """The selected units of every model, with the header and the array [2, K, U] of all units' average precision."""
    headers = {path: read_json(path) for path in map(Path, paths)}
    selected = _read((path for path, header in headers.items() if header["artifact"] == "expert_units"), size)
    found = {header["model"]: path for path, header in headers.items() if header["artifact"] == "average_precision"}
    rows = []
    for own in selected:
        if own.model not in found:
            raise LapeError(f"average precision of {own.model}: missing; pass its header beside that of its units")
        path = found[own.model]
        header = headers[path]
        # The header's hash is enough: the header names the hash of the array, which `checked` compares.
        if sha256(path) not in own.units.summary["inputs"].values():
            raise LapeError(
                f"{path}: is not what the units of {own.model} were selected by; run `lape select_units` again"
            )
        rows.append((own, header, read_array(checked(path, header, ".npy"), mmap=True)))
    return rows


def _as_in_paper(own: _Selected) -> bool:
    """Whether the paper's numbers can be compared: its units are as many, and their languages are the same."""
    return own.size == paper.NUMBER and set(own.units.languages) == set(paper.LANGUAGES)
