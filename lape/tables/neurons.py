"""How many neurons belong to each language (Table 3), and in which layers they lie (Tables 6-10, Fig. 5)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.artifact import read_json
from lape.errors import LapeError
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
        header = read_json(path, "neurons")
        key = header["model"], header["method"]
        if key in blocks:
            raise LapeError(f"{path}: a second set of {' '.join(key)}; pass each neurons header once")
        block = _count(path, header)
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


def _count(path: str | Path, header: dict) -> pd.DataFrame:
    """Columns language, layer (from 1), neurons of one artifact."""
    (table,) = data(path)
    try:
        rows = pd.read_csv(
            table, sep="\t", na_filter=False, usecols=["layer", "languages"], dtype={"layer": int, "languages": str}
        )
    except OSError as error:
        raise LapeError(f"{table}: cannot be read ({error.strerror}); run the step that makes it") from error
    except ValueError as error:
        raise LapeError(f"{table}: is not a neurons table ({error}); delete it and run its step again") from error
    owners = rows.assign(language=rows["languages"].str.split(",")).explode("language")
    found = owners.groupby(["language", "layer"]).size()
    every = pd.MultiIndex.from_product([header["sets"], range(header["layers"])], names=["language", "layer"])
    unknown = found.index.difference(every)
    if len(unknown):
        language, layer = unknown[0]
        raise LapeError(f"{table}: {language!r} in layer {layer} (from 0) is not in its header; run its step again")
    counted = found.reindex(every, fill_value=0).rename("neurons").reset_index()
    for language, total in counted.groupby("language", sort=False)["neurons"].sum().items():
        if total != header["counts"][language]:
            raise LapeError(
                f"{table}: {total} neurons of {language}, its header says {header['counts'][language]}; "
                "run its step again"
            )
    return counted.assign(layer=counted["layer"] + 1)


def _integers(cells: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers as text; a set that a model lacks is left blank."""
    return cells.map(lambda value: "" if pd.isna(value) else f"{value:.0f}")
