"""Checks of what single neurons do: their contexts, and the words that they write."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lape.artifacts.files import read_json
from lape.audit.inputs import inputs
from lape.contexts.recording import BINS
from lape.contexts.stored import places_of, read_contexts, read_written
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics


def check_contexts(path: Path, header: dict) -> Iterator[str]:
    rows = read_contexts(path)
    (source,) = inputs(header, "neurons")
    neurons = Neurons.load(source)
    if [
        {name: row[name] for name in place} for row, place in zip(rows, places_of(neurons.table), strict=False)
    ] != list(places_of(neurons.table)):
        yield f"its neurons are not those of {source}"
        return
    counted = next(each for each in inputs(header, "statistics") if read_json(each)["language"] == header["language"])
    per_token = ActivationStatistics.load(counted.with_suffix(".npz")).per_token[neurons.numbers()].tolist()
    for row, expected in zip(rows, per_token, strict=True):
        name = f"the neuron at {row['layer']}, {row['index']} (from 0)"
        if [row["share"], row["mean"]] != expected:
            yield f"{name} has another share or mean than in {counted}"
        if sum(row["histogram"]) > header["tokens"] or len(row["histogram"]) != BINS:
            yield f"{name} has a histogram of other positions than the header's {header['tokens']}"
        values = [context["values"][context["centre"]] for context in row["strongest"]]
        documents = [context["document"] for context in row["strongest"]]
        if values != sorted(values, reverse=True) or len(set(documents)) != len(documents):
            yield f"{name} has strongest contexts out of order, or twice in a document"
        if not all(_is_in_histogram(row, value) for value in values):
            yield f"{name} has a strongest context that its histogram does not have"


def _is_in_histogram(row: dict, value: float) -> bool:
    """Whether the bin of an activation has a position, or one beside it, as the activation is rounded.

    Bins above it may have positions, too: BOS is counted, and is the centre of no context.
    """
    found = int(np.clip(np.floor((value - row["low"]) / row["width"]) + 1, 0, BINS - 1))
    return any(row["histogram"][max(found - 1, 0) : found + 2])


def check_vocabulary_effects(path: Path, header: dict) -> Iterator[str]:
    rows, (source,) = read_written(path), inputs(header, "neurons")
    table = Neurons.load(source).table
    if [{name: row[name] for name in ("layer", "index")} for row in rows] != table[["layer", "index"]].to_dict(
        "records"
    ):
        yield f"its neurons are not those of {source}"
    shares = [share for row in rows for side in ("raised", "lowered") for share in row[f"{side}_share"].values()]
    if not all(0 <= share <= 1 for share in shares):
        yield "has a share of words outside 0 ... 1"
