"""How many neurons belong to each language (Table 3), and in which layers they lie (Tables 6-10, Fig. 5)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.errors import LapeError
from lape.neurons import Neurons
from lape.tables.layout import Section


def data(header: str | Path) -> list[Path]:
    """The TSV beside a neurons header."""
    return [Path(header).with_suffix(".tsv")]


def layer_counts(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Neurons of each layer and language (Tables 6-10, the data of Fig. 5).

    A neuron of several languages counts for each of them.

    Args:
        paths: neurons headers, one for a model and method, each with its TSV beside it.

    Returns:
        Columns model, method, language ("random" for the random set), layer (from 1, as in the paper) and
        neurons; layers without a neuron are there with 0.

    Raises:
        LapeError: a set comes twice, or a TSV disagrees with its header.
    """
    blocks = {}
    for path in paths:
        header, block = _count(path)
        key = header["model"], header["method"]
        if key in blocks:
            raise LapeError(f"{path}: a second set of {' '.join(key)}; pass each neurons header once")
        block.insert(0, "model", key[0])
        block.insert(1, "method", key[1])
        blocks[key] = block
    return pd.concat(blocks.values(), ignore_index=True)


def counts(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Neurons of each language (Table 3): columns model, method, language, neurons.

    Args:
        paths: as for `layer_counts`.

    Raises:
        LapeError: as `layer_counts`.
    """
    return layer_counts(paths).groupby(["model", "method", "language"], sort=False)["neurons"].sum().reset_index()


def count_sections(frame: pd.DataFrame) -> list[Section]:
    """Models down, languages across."""
    cells = frame.pivot(index="model", columns="language", values="neurons")
    cells = cells.loc[frame["model"].unique(), frame["language"].unique()]
    return [Section("Number of neurons of each language", "model", _integers(cells))]


def layer_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model, layers down and languages across, as the paper prints Tables 6-10."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        cells = block.pivot(index="layer", columns="language", values="neurons")[block["language"].unique()]
        sections.append(Section(f"{model}: number of neurons per layer", "layer", _integers(cells)))
    return sections


def _count(path: str | Path) -> tuple[dict, pd.DataFrame]:
    """Header of one artifact, and columns language, layer (from 1), neurons."""
    neurons = Neurons.load(path)
    owners = neurons.table[["layer", "languages"]].explode("languages")
    found = owners.groupby(["languages", "layer"]).size()
    every = pd.MultiIndex.from_product([neurons.sets, range(neurons.layers)], names=["language", "layer"])
    counted = found.reindex(every, fill_value=0).rename("neurons").reset_index()
    for language, total in counted.groupby("language", sort=False)["neurons"].sum().items():
        expected = neurons.summary["counts"][language]
        if total != expected:
            raise LapeError(
                f"{data(path)[0]}: {total} neurons of {language}, its header says {expected}; run its step again"
            )
    return neurons.summary, counted.assign(layer=counted["layer"] + 1)


def _integers(cells: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers as text; a set that a model lacks is left blank."""
    return cells.map(lambda value: "" if pd.isna(value) else f"{value:.0f}")
