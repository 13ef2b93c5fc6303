"""How much the selection depends on its settings: the same statistics, selected anew with one setting changed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_headers
from lape.errors import LapeError
from lape.items.layout import Section, rounded
from lape.items.neurons.controls import statistics_of
from lape.neurons.agreement import ALL, jaccard, members
from lape.neurons.selection import ASSIGNMENTS, NEGATIVE, SELECTIONS
from lape.neurons.table import Neurons

# Setting -> its values that are compared, by method.
_QUANTILES = {"quantile": (0.9, 0.95, 0.98), "assignment": ASSIGNMENTS}
CHOICES = {"lape": _QUANTILES, "lave": {"negative": NEGATIVE, **_QUANTILES}}


def choices(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The neurons of LAPE and LAVE under other settings of the selection, beside those of the run.

    Args:
        paths: headers of the neurons of some methods, and of the statistics of every language of their models.

    Returns:
        one row per model, method, choice and language, and one for the neurons of any language (`ALL`). Columns:
        - model, method, setting, value (of the one setting that differs from the run's), language;
        - neurons, and jaccard with the run's own set of the language;
        - negative: share of all neurons whose mean activation on the language is below 0, which is what LAVE's setting
          `negative` decides on; empty for LAPE.

    Raises:
        LapeError: there are no neurons of LAPE or LAVE, or a language has no statistics.
    """
    kinds = read_headers(paths, ("neurons", "statistics"))
    lines = []
    for path, header in kinds.items():
        if header["artifact"] != "neurons" or header["method"] not in CHOICES:
            continue
        model, method, neurons = header["model"], header["method"], Neurons.load(path)
        counted = statistics_of(kinds, model)
        if missing := sorted(set(neurons.sets) - set(counted)):
            raise LapeError(f"{path}: no statistics of {', '.join(missing)}; pass those of each of its languages")
        statistics = {language: counted[language] for language in neurons.sets}
        negative = _negative(statistics) if method == "lave" else dict.fromkeys(statistics, np.nan)
        own = members(neurons)
        for setting, value, parameters in _changed(method, header["parameters"]):
            other = members(SELECTIONS[method](statistics, **parameters))
            sizes = own.sum(axis=1), other.sum(axis=1)
            agreement = jaccard(*sizes, (own & other).sum(axis=1))
            for place, language in enumerate((ALL, *neurons.sets)):
                lines.append(
                    {
                        **{"model": model, "method": method, "setting": setting, "value": str(value)},
                        **{"language": language, "neurons": int(sizes[1][place]), "jaccard": agreement[place]},
                        "negative": negative.get(language, np.nan),
                    }
                )
    if not lines:
        raise LapeError("choices: no neurons of LAPE or LAVE among the inputs; pass their headers")
    return pd.DataFrame(lines)


def _changed(method: str, parameters: Mapping) -> Iterator[tuple[str, object, dict]]:
    """Setting, value, and the parameters of a selection that has the run's settings but for that one."""
    for setting, values in CHOICES[method].items():
        for value in values:
            if value != parameters[setting]:
                yield setting, value, {**parameters, setting: value}


def _negative(statistics: Mapping) -> dict[str, float]:
    return {language: float((value.per_token[:, 1] < 0).mean()) for language, value in statistics.items()}


def choice_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and method one row per choice: neurons, and in parentheses the Jaccard index with the run's own set."""
    sections = []
    for (model, method), block in frame.groupby(["model", "method"], sort=False):
        block = block.assign(
            row=block["setting"] + ": " + block["value"].astype(str),
            text=[
                f"{one.neurons:,}" if np.isnan(one.jaccard) else f"{one.neurons:,} ({rounded(one.jaccard)})"
                for one in block.itertuples()
            ],
        )
        cells = block.pivot(index="row", columns="language", values="text")
        cells = cells.loc[block["row"].unique(), block["language"].unique()]
        title = f"{model}, {method}: neurons under another setting (Jaccard index with the run's)"
        if block["negative"].notna().any():
            title += f"; {block['negative'].mean():.0%} of the mean activations are negative"
        sections.append(Section(title, "setting", cells))
    return sections
