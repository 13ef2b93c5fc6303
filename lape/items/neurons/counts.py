"""How many neurons belong to each language (Table 3), and in which layers they lie (Tables 6-10, Fig. 5)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from lape.errors import LapeError
from lape.items.layers import heading, with_index
from lape.items.layout import Section
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.paper import PaperModel, paper_model

_MINUS = "\N{MINUS SIGN}"


def data(header: str | Path) -> list[Path]:
    """The TSV beside a neurons header."""
    return [Path(header).with_suffix(".tsv")]


def read_sets(paths: Sequence[str | Path]) -> list[Neurons]:
    """Read neurons artifacts, one for a model and method.

    Args:
        paths: neurons headers, each with its TSV beside it.

    Raises:
        LapeError: a model and method come twice, or a TSV disagrees with its header.
    """
    found = {}
    for path in paths:
        neurons = Neurons.load(path)
        key = neurons.summary["model"], neurons.summary["method"]
        if key in found:
            raise LapeError(f"{path}: a second set of {' '.join(key)}; pass each neurons header once")
        for language, total in neurons.counts().items():
            expected = neurons.summary["counts"][language]
            if total != expected:
                raise LapeError(
                    f"{data(path)[0]}: {total} neurons of {language}, its header says {expected}; run its step again"
                )
        found[key] = neurons
    return list(found.values())


def layer_counts(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Neurons of each layer and language (Tables 6-10, the data of Fig. 5).

    A neuron of several languages counts for each of them.

    Args:
        paths: neurons headers, one for a model and method, each with its TSV beside it.

    Returns:
        one row per model, method, language and layer, also where the layer has no neuron. Columns: model, method,
        language, layer (from 1, as in the paper), layer_index (from 0), ours (number of neurons; empty in a layer
        without an FFN), paper and difference (ours less paper). The last two are empty except for LAPE on a model and
        the languages of the paper; they are empty too in the rows that Table 10 lacks.

    Raises:
        LapeError: a set comes twice, or a TSV disagrees with its header.
    """
    return with_index(_compared(paths, ["language", "layer"], PaperModel.layer_counts))


def counts(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Neurons of each language (Table 3).

    Args:
        paths: see `layer_counts`.

    Returns:
        one row per model, method and language. Columns: model, method, language, ours, paper, difference.

    Raises:
        LapeError: see `layer_counts`.
    """
    return _compared(paths, ["language"], PaperModel.counts)


def count_sections(frame: pd.DataFrame) -> list[Section]:
    """Models down, languages across. Below a model of the paper stand the paper's numbers and the differences."""
    rows = {}
    for title, block in blocks(frame):
        block = block.set_index("language")
        for column, format in _columns(block).items():
            label = title if column == "ours" else f"{title}, {column}"
            rows[label] = block[column].map(format)
    # A language that a model lacks is left blank.
    cells = pd.DataFrame(rows).T[frame["language"].unique()].fillna("")
    return [Section("Number of neurons of each language", "model", cells)]


def layer_sections(frame: pd.DataFrame) -> list[Section]:
    """Layers down, languages across, as in Tables 6-10. The paper's models have its numbers and the differences too."""
    sections = []
    for title, block in blocks(frame):
        for column, format in _columns(block).items():
            cells = block.pivot(index="layer", columns="language", values=column)[block["language"].unique()]
            what = {"ours": "", "paper": ", the paper's", "difference": ", ours less the paper's"}[column]
            sections.append(
                Section(f"{title}: number of neurons per layer{what}", heading(cells.index), cells.map(format))
            )
    return sections


def blocks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each model and method, with a title that names the model, and the method unless it is LAPE."""
    for (model, method), block in frame.groupby(["model", "method"], sort=False):
        yield model if method == "lape" else f"{model}, {method}", block


def _compared(paths: Sequence[str | Path], keys: list[str], printed: Callable[[PaperModel], pd.Series]) -> pd.DataFrame:
    """Counts by `keys` beside those of the paper."""
    frames = []
    for neurons in read_sets(paths):
        ours = _count(neurons).groupby(keys, sort=False)["neurons"].sum()
        with_ffn = {1 + site.layer for site in neurons.sites.sites}
        if "layer" in keys and len(with_ffn) < neurons.layers:
            ours = ours.astype("Int64").where(ours.index.get_level_values("layer").isin(with_ffn))
        known = _known(neurons)
        paper = printed(known) if known else pd.Series(dtype="Int64")
        frame = pd.DataFrame({"ours": ours, "paper": paper.reindex(ours.index)})
        frame["difference"] = frame["ours"] - frame["paper"]
        names = {"model": neurons.summary["model"], "method": neurons.summary["method"]}
        frames.append(frame.reset_index().assign(**names)[[*names, *keys, *frame.columns]])
    return pd.concat(frames, ignore_index=True)


def _count(neurons: Neurons) -> pd.DataFrame:
    """The number of neurons in every language and layer: columns language, layer (from 1), neurons."""
    owners = neurons.table[["layer", "languages"]].explode("languages")
    found = owners.groupby(["languages", "layer"]).size()
    every = pd.MultiIndex.from_product([neurons.sets, range(neurons.layers)], names=["language", "layer"])
    counted = found.reindex(every, fill_value=0).rename("neurons").reset_index()
    return counted.assign(layer=counted["layer"] + 1)


def _known(neurons: Neurons) -> PaperModel | None:
    """The paper's model that these neurons can be compared with.

    Which neurons have a low entropy depends on all languages of the selection. Only a selection by the paper's own list
    of languages can be compared with it.
    """
    model = paper_model(neurons.summary["model"], neurons.summary.get("checkpoint"))
    if model is None or neurons.summary["method"] != "lape" or set(model.counts().index) != set(neurons.sets):
        return None
    return model if neurons.sites == Sites.rectangle(model.layers, model.neurons_per_layer) else None


def _columns(block: pd.DataFrame) -> dict[str, Callable[[int], str]]:
    """The columns of counts that a model has -> how a number is written. A missing number is left blank."""
    columns = {"ours": _whole}
    if block["paper"].notna().any():
        columns |= {"paper": _whole, "difference": _signed}
    return columns


def _whole(value: int) -> str:
    return "" if pd.isna(value) else f"{value:.0f}"


def _signed(value: int) -> str:
    if pd.isna(value) or value == 0:
        return _whole(value)
    return f"{value:+.0f}".replace("-", _MINUS)
