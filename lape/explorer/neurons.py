"""The selected neurons of a run, each with what every stage tells of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array
from lape.contexts.inspected import Inspection
from lape.errors import LapeError
from lape.explorer import cards
from lape.explorer.neuronpedia import model_page
from lape.explorer.run import Run
from lape.items.perplexity.inputs import bare
from lape.model.linear import LinearLayer
from lape.neurons.by_precision import neuron_units
from lape.neurons.selection import activation_probabilities
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

# In the order of the page's list of methods.
METHODS = ("lape", "lap", "lave", "ap")
# Of a neuron, beside its layer.
_COLUMNS = ("kind", "expert", "index", "entropy", "frequency", "strongest", "promoted")


def selections(run: Run) -> dict[tuple[str, str], Neurons]:
    """(model, method) -> its neurons. Controls, and LAPE at another share of neurons, are left out.

    Raises:
        LapeError: a table of neurons is missing or damaged.
    """
    found = {}
    for path, header in run.headers("neurons").items():
        model, method = header["model"], header["method"]
        own = path.stem == method and path.parent.name == model  # a variant's folder is MODEL@VARIANT
        if own and method != "random" and method == bare(method):
            found[model, method] = Neurons.load(path)
    models = [*run.config.get("models", []), *(model for model, _ in found)]  # those of the whole run first
    order = {method: number for number, method in enumerate(METHODS)}
    return dict(sorted(found.items(), key=lambda pair: (models.index(pair[0][0]), order.get(pair[0][1], len(order)))))


def table(run: Run, neurons: Neurons) -> pd.DataFrame:
    """One row per neuron of a selection, in its own order.

    Returns:
        the columns of `Neurons.table`, layers from 0 among them, and as far as the run has them:
        - probability_<language>: share of tokens at which the neuron fires, from the statistics;
        - frequency: share of the bootstrap's resamples that select the neuron;
        - average_precision_<language> of the unit that feeds the neuron, and rank_<language>, the unit's place among
          all units of the model (from 1).
    """
    numbers = neurons.numbers()
    found = neurons.table.copy()
    for more in (_probabilities, _frequency, _precision):
        found = found.assign(**more(run, neurons, numbers))
    return found


def columns(run: Run, found: Neurons, contexts: Sequence[Inspection]) -> dict:
    """The neurons of one model and method, column by column, as the page's scripts read them.

    Args:
        run: the run.
        found: the neurons.
        contexts: what was found of each; empty where the run has none.
    """
    frame = table(run, found)
    header = found.summary
    owners = [[found.sets.index(name) for name in names] for names in frame["languages"]]
    by_language = {
        kind: [_numbers(frame[f"{kind}_{name}"]) if f"{kind}_{name}" in frame else None for name in found.sets]
        for kind in ("probability", "average_precision", "rank")
        if any(f"{kind}_{name}" in frame for name in found.sets)
    }
    if contexts:
        of_cards = [
            (cards.strongest(one, names), cards.promoted(one, names))
            for one, names in zip(contexts, frame["languages"], strict=True)
        ]
        frame[["strongest", "promoted"]] = pd.DataFrame(of_cards, dtype=float)
    site = model_page(header.get("checkpoint"), header["model"])
    return {
        "model": header["model"],
        "method": header["method"],
        "file": str(Path(found.origin).with_suffix(".tsv")),
        "sets": list(found.sets),
        "neurons": found.sites.neurons,
        "units": _units(run, header["model"]),
        "site": site and {"address": site[0], "neurons": site[1]},
        "owners": owners,
        "columns": {
            "layer": (frame["layer"] + 1).tolist(),
            **{name: _numbers(frame[name]) for name in _COLUMNS if name in frame},
        },
        "by_language": by_language,
        "cards": cards.GROUP if contexts else 0,
    }


def _probabilities(run: Run, neurons: Neurons, numbers: np.ndarray) -> dict[str, np.ndarray]:
    model = neurons.summary["model"]
    paths = {
        header["language"]: path
        for path, header in run.headers("statistics").items()
        if header.get("model") == model and path.stem == header.get("language") and path.parent.name == model
    }
    if not set(neurons.sets) <= set(paths):
        return {}
    statistics = {language: ActivationStatistics.load(paths[language]) for language in neurons.sets}
    values = activation_probabilities(statistics).reshape(-1, len(statistics))[numbers]
    return {f"probability_{language}": column for language, column in zip(statistics, values.T, strict=True)}


def _frequency(run: Run, neurons: Neurons, numbers: np.ndarray) -> dict[str, np.ndarray]:
    for path, header in run.headers("stability").items():
        if (header["model"], header["method"]) == (neurons.summary["model"], neurons.summary["method"]):
            file = Path(f"{path.with_suffix('')}.frequency.tsv")
            try:
                frame = pd.read_csv(file, sep="\t", keep_default_na=False)
                shares = pd.Series(frame["frequency"].to_numpy(float), neurons.sites.numbers(frame))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise LapeError(f"{file}: is no table of frequencies ({error}); run `lape stability` again") from error
            return {"frequency": shares.reindex(numbers).to_numpy()}
    return {}


def _precision(run: Run, neurons: Neurons, numbers: np.ndarray) -> dict[str, np.ndarray]:
    for path, header in run.headers("average_precision").items():
        if header["model"] == neurons.summary["model"]:
            values = read_array(checked(path, header, ".npy"), mmap=True)[0]
            layers = [LinearLayer.of(description) for description in header["linear_layers"]]
            units = neuron_units(layers, header["neuron_part"], neurons.sites)[numbers]
            precision = {name: np.asarray(row) for name, row in zip(header["languages"], values, strict=True)}
            ranks = {name: _ranks(row, row[units]) for name, row in precision.items()}
            return {f"average_precision_{name}": row[units] for name, row in precision.items()} | {
                f"rank_{name}": row for name, row in ranks.items()
            }
    return {}


def _ranks(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many of all values are above each chosen one, plus 1."""
    return len(values) - np.searchsorted(np.sort(values), chosen, side="right") + 1


def _units(run: Run, model: str) -> int | None:
    """The number of the model's units that were scored by average precision."""
    headers = run.headers("average_precision").values()
    return next((header["units"] for header in headers if header["model"] == model), None)


def _numbers(column: pd.Series) -> list:
    """A column for JSON: six digits of each number, None for NaN, and text as it is."""
    if pd.api.types.is_float_dtype(column):
        return [None if pd.isna(value) else float(f"{value:.6g}") for value in column]
    return column.tolist()
