"""How fair the controls are: how often and how strongly a set and its controls fire on the language of the set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_headers, read_json
from lape.errors import LapeError
from lape.items.layout import Section, rounded
from lape.neurons.controls import PREFIXES, activity
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics, read_statistics

# Two groups of neurons that differ by more standard deviations are usually not taken for matched (Rubin 2001).
MATCHED = 0.25


def data(header: str | Path) -> list[Path]:
    """The sums beside a header of statistics, or the TSV beside a header of neurons."""
    suffix = ".npz" if read_json(header).get("artifact") == "statistics" else ".tsv"
    return [Path(header).with_suffix(suffix)]


def controls(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Activation probability and mean activation of every set and of its controls, on the language of the set.

    Args:
        paths: headers of neurons, of their controls, and of the statistics of every language of their models.

    Returns:
        one row per model, method, control and language. Columns:
        - model, method, control_method, language, neurons, control_neurons;
        - probability and control_probability (mean over the neurons), mean and control_mean (mean activation);
        - probability_difference and mean_difference: set less control, divided by the pooled standard deviation of
          the neurons. Below 0.1 two groups are usually called matched.

    Raises:
        LapeError: a method has no control among the inputs, or a language has no statistics.
    """
    kinds = read_headers(paths, ("neurons", "statistics"))
    found = {
        (header["model"], header["method"]): Neurons.load(path)
        for path, header in kinds.items()
        if header["artifact"] == "neurons"
    }
    counted = {model: statistics_of(kinds, model) for model, _ in found}
    lines = []
    for (model, method), neurons in found.items():
        for control in (f"{prefix}{method}" for prefix in PREFIXES if (model, f"{prefix}{method}") in found):
            for language in neurons.sets:
                known = activity(neurons, counted[model], language)
                own, drawn = (known[_numbers(each, language)] for each in (neurons, found[model, control]))
                lines.append(
                    {
                        **{"model": model, "method": method, "control_method": control, "language": language},
                        **{"neurons": len(own), "control_neurons": len(drawn)},
                        **_compared("probability", own[:, 0], drawn[:, 0]),
                        **_compared("mean", own[:, 1], drawn[:, 1]),
                    }
                )
    if not lines:
        raise LapeError("controls: no neurons have a control among the inputs; pass both")
    frame = pd.DataFrame(lines)
    ends = [f"{name}_difference" for name in ("probability", "mean")]
    return frame[[*frame.columns.drop(ends), *ends]]


def statistics_of(kinds: Mapping[Path, Mapping], model: str) -> dict[str, ActivationStatistics]:
    """Language -> the statistics of a model, among headers of several kinds (path -> header)."""
    paths = [path for path, of in kinds.items() if (of["artifact"], of["model"]) == ("statistics", model)]
    return read_statistics(paths, None)


def control_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model, method and control one row per language. The title says where the control is the less active."""
    sections = []
    for (model, method, control), block in frame.groupby(["model", "method", "control_method"], sort=False):
        cells = pd.DataFrame(
            {
                "neurons": block["neurons"].map("{:,}".format),
                "control": block["control_neurons"].map("{:,}".format),
                "P": block["probability"].map(_number),
                "P of control": block["control_probability"].map(_number),
                "mean": block["mean"].map(_number),
                "mean of control": block["control_mean"].map(_number),
                "difference of P": block["probability_difference"].map(_number),
                "difference of means": block["mean_difference"].map(_number),
            }
        ).set_index(block["language"].rename(None))
        title = (
            f"{model}, {method} and {control}: activation probability P and mean activation on the language; "
            "differences in standard deviations"
        )
        if (block[["probability_difference", "mean_difference"]].mean() > MATCHED).any():
            title += f". The control is less active than {method}, so that a comparison with it is easy to win"
        sections.append(Section(title, "language", cells))
    return sections


def _numbers(neurons: Neurons, language: str) -> np.ndarray:
    return neurons.numbers()[neurons.membership()[:, neurons.sets.index(language)]]


def _compared(name: str, own: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """The means of two groups, and their difference in pooled standard deviations; NaN where a group is empty."""
    if not len(own) or not len(drawn):
        return dict.fromkeys((name, f"control_{name}", f"{name}_difference"), np.nan)
    means, spread = (own.mean(), drawn.mean()), np.sqrt((own.var() + drawn.var()) / 2)
    difference = (means[0] - means[1]) / spread if spread > 0 else np.nan
    return {name: means[0], f"control_{name}": means[1], f"{name}_difference": difference}


def _number(value: float) -> str:
    return "" if np.isnan(value) else rounded(value)
