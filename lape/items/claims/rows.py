"""The table of claims: each sentence of the papers that the run's tables can test."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_headers, read_json
from lape.errors import LapeError
from lape.items import tables
from lape.items.claims import answers, neurons, perplexity, structure
from lape.items.claims.verdict import TANG, Claim
from lape.items.layout import Section, rounded
from lape.neurons.table import Neurons

# Table -> the claims that it can test, for the rows of one model.
OF_TABLES: dict[str, Callable[[pd.DataFrame], Iterator[Claim]]] = {
    "specificity": perplexity.of_scores,
    "control_draws": perplexity.of_draws,
    "deactivation_matrix": perplexity.of_changes,
    "similarity_by_layer": structure.of_similarity,
    "dominance_by_layer": structure.of_dominance,
    "answers_steered": answers.of_steering,
    "expert_overlap": answers.of_overlap,
    "expert_layers": answers.of_layers,
    "expert_share": answers.of_share,
}
# The claims on neurons come after those on perplexity.
_NEURONS = "neurons"
_ORDER = [*[*OF_TABLES][:3], _NEURONS, *[*OF_TABLES][3:]]
_SIZES = Claim(
    "neurons of larger models belong to one language rather than to several",
    f"{TANG} 3.2",
    "needs one model in several sizes",
)


def data(header: str | Path) -> list[Path]:
    """The CSV beside a header of a table, or the TSV beside a header of neurons."""
    suffix = ".csv" if read_json(header).get("artifact") == "table" else ".tsv"
    return [Path(header).with_suffix(suffix)]


def claims(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Every claim that the inputs can test, per model.

    Args:
        paths: headers of tables, each with its CSV beside it, and of LAPE's neurons. Tables that test no claim are
            refused.

    Returns:
        one row per model and claim. Columns: model, claim, section (of the paper), statistic, value, low, high, verdict
        ("holds", "does not hold", "cannot be said"). low and high are the 95% interval that the statistic names.

    Raises:
        LapeError: an input is another artifact or table, or was changed.
    """
    found: list[tuple[str, str, Claim]] = []
    for path, header in read_headers(paths, ("table", "neurons")).items():
        if header["artifact"] == "neurons":
            found += [(header["model"], _NEURONS, claim) for claim in neurons.of_neurons(Neurons.load(path))]
            continue
        if header["item"] not in OF_TABLES:
            raise LapeError(f"{path}: no claim is tested on {header['item']}; pass {', '.join(OF_TABLES)}")
        frame = tables.read(checked(path, header, ".csv"), ["model"])
        for model, block in frame.groupby("model", sort=False):
            found += [(model, header["item"], claim) for claim in OF_TABLES[header["item"]](block)]
    if not found:
        raise LapeError("claims: the inputs test none; pass tables of a model with enough languages and layers")
    models = list(dict.fromkeys(model for model, *_ in found))
    found += [(model, _NEURONS, _SIZES) for model in models]
    found.sort(key=lambda each: (models.index(each[0]), _ORDER.index(each[1])))
    return pd.DataFrame([{"model": model, **asdict(claim)} for model, _, claim in found])


def claim_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model one row per claim."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        cells = pd.DataFrame(
            {
                "section": block["section"],
                "statistic": block["statistic"],
                "value": block["value"].map(_number),
                "95% interval": [
                    "" if np.isnan(low) else f"{_number(low)} to {_number(high)}"
                    for low, high in zip(block["low"], block["high"], strict=True)
                ],
                "verdict": block["verdict"],
            }
        ).set_index(block["claim"].rename(None))
        sections.append(Section(f"{model}: claims of the papers, and what this run says of them", "claim", cells))
    return sections


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:g}" if value == int(value) else rounded(value)
