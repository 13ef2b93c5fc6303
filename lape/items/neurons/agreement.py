"""How far the methods agree on the neurons."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.items.layout import Section, rounded
from lape.items.neurons.counts import read_sets
from lape.neurons.agreement import ALL, jaccard, jaccard_by_chance, members
from lape.neurons.table import Neurons


def agreement(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The Jaccard index of every two methods' neurons, beside that of random sets of the same sizes.

    Args:
        paths: neurons headers, one for a model and method, each with its TSV beside it.

    Returns:
        one row per model, ordered pair of methods and language; a method is paired with itself too. The first language
        is `ALL`, for the neurons of any language. Columns: model, method, other (the second method), language, neurons,
        other_neurons, shared, jaccard and expected (Jaccard index by chance). The last two are empty where both sets
        are empty.

    Raises:
        LapeError: a model and method come twice, a TSV disagrees with its header, or the methods of a model differ in
            their languages or its shape.
    """
    models: dict[str, dict[str, Neurons]] = {}
    for neurons in read_sets(paths):
        models.setdefault(neurons.summary["model"], {})[neurons.summary["method"]] = neurons
    rows = []
    for model, methods in models.items():
        first = next(iter(methods.values()))
        member = {}
        for method, neurons in methods.items():
            if set(neurons.sets) != set(first.sets) or neurons.sites != first.sites:
                raise LapeError(
                    f"{neurons.origin}: has other languages or another shape than {first.origin}; compare methods on "
                    "one model and one list of languages"
                )
            order = [0, *(1 + neurons.sets.index(language) for language in first.sets)]
            member[method] = members(neurons)[order]
        for method, own in member.items():
            for other, theirs in member.items():
                sizes = own.sum(axis=1), theirs.sum(axis=1), (own & theirs).sum(axis=1)
                indices = jaccard(*sizes)
                for language, a, b, shared, index in zip([ALL, *first.sets], *sizes, indices, strict=True):
                    names = {"model": model, "method": method, "other": other, "language": language}
                    counts = {"neurons": int(a), "other_neurons": int(b), "shared": int(shared)}
                    chance = jaccard_by_chance(own.shape[1], int(a), int(b))
                    rows.append({**names, **counts, "jaccard": float(index), "expected": chance})
    return pd.DataFrame(rows)


def agreement_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: a matrix of the methods, with the index by chance in brackets; then pairs down, languages across."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        block = block.assign(cell=[_cell(row.jaccard, row.expected) for row in block.itertuples()])
        methods, languages = block["method"].unique(), block["language"].unique()
        cells = agreement_matrix(block, "cell")
        title = f"{model}: Jaccard index of the methods' neurons (expected by chance)"
        sections.append(Section(title, "method", cells))
        pairs = {(a, b): f"{a}, {b}" for place, a in enumerate(methods) for b in methods[place + 1 :]}
        if pairs:
            cells = block.pivot(index=["method", "other"], columns="language", values="cell")
            cells = cells.loc[list(pairs), languages].set_axis(pairs.values())
            sections.append(Section(f"{title}, by language", "methods", cells))
    return sections


def agreement_matrix(block: pd.DataFrame, column: str, language: str = ALL) -> pd.DataFrame:
    """One column of a frame of one model as a matrix, method x other method, in the frame's order."""
    methods = block["method"].unique()
    rows = block[block["language"] == language]
    return rows.pivot(index="method", columns="other", values=column).loc[methods, methods]


def _cell(index: float, chance: float) -> str:
    return "" if np.isnan(index) else f"{rounded(index)} ({rounded(chance)})"
