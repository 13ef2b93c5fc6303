"""Checks of counts and selections: statistics, neurons, their stability, steering values, parameters."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_array, read_json
from lape.audit.inputs import inputs
from lape.interventions.steering import SteeringValues, steering_values
from lape.model.sites import PLACE, Sites
from lape.neurons.by_precision import ap_neurons
from lape.neurons.controls import activity_matched_control, random_control
from lape.neurons.selection import SELECTIONS, activation_probabilities, entropies, mean_activations
from lape.neurons.table import Neurons
from lape.parameter_variation.controls import control_parameters, magnitude_matched_controls
from lape.parameter_variation.parameters import Parameters
from lape.parameter_variation.reading import read_copies
from lape.statistics.sums import ActivationStatistics, read_statistics


def check_statistics(path: Path, header: dict) -> Iterator[str]:
    whole = ActivationStatistics.load(path.with_suffix(".npz"))
    if whole.sites != Sites.of(header) or whole.tokens != header["tokens"]:
        yield f"has {whole.sites} and {whole.tokens} tokens, not those of its header"
    if whole.count.shape != whole.sites.shape or whole.rows.shape != whole.sites.block_shape:
        yield "holds another number of counts than it has neurons"
        return
    if whole.count.min() < 0 or (whole.count > whole.denominator).any():
        yield f"has a count outside 0 ... {whole.tokens}"
    if (whole.square < 0).any() or (whole.total**2 > whole.square * whole.denominator * (1 + 1e-9) + 1e-6).any():
        yield "has a sum of activations that its sum of squares does not allow"
    if not header["shards"]:  # imported counts have none
        return
    parts = [ActivationStatistics.load(path.parent / shard["file"]) for shard in header["shards"]]
    for shard, part in zip(header["shards"], parts, strict=True):
        if part.tokens != shard["tokens"]:
            yield f"shard {shard['file']} has {part.tokens} tokens, the header says {shard['tokens']}"
        mark = read_json((path.parent / shard["file"]).with_suffix(".json"))
        if not {mark["model"], mark["tokens"]} <= set(header["inputs"].values()):
            yield f"shard {shard['file']} was counted on other tokens or with another model, by its own mark"
    added = sum(parts[1:], parts[0])
    if added.tokens != whole.tokens or not np.array_equal(added.count, whole.count):
        yield "is not the sum of its shards"
    elif not all(
        np.array_equal(getattr(added, name), getattr(whole, name)) for name in ("totals", "squares", "above", "rows")
    ):
        yield "its activation sums are not those of its shards"
    # The counted tokens must be exactly those of the token files on disk.
    for name in header["inputs"]:
        if name.endswith(".npy"):
            chunks = read_array(name, mmap=True)
            there = chunks[:, header["parameters"]["skip_first"] :].size
            if there != whole.tokens:
                yield f"counted {whole.tokens} tokens, {name} holds another number"


def check_neurons(path: Path, header: dict) -> Iterator[str]:
    neurons = Neurons.load(path)
    if neurons.counts() != header["counts"]:
        yield f"holds {neurons.counts()} neurons, the header says {header['counts']}"
    if len(neurons.table) != header["selected"] or len(set(neurons.numbers().tolist())) != len(neurons.table):
        yield f"holds {len(neurons.table)} rows, the header says {header['selected']} different neurons"
    for source in inputs(header, "average_precision"):
        again = ap_neurons(source, *inputs(header, "neurons"))
        if not again.table.equals(neurons.table):
            yield "selecting again from the average precision gives other neurons"
        return
    for source in inputs(header, "neurons"):  # a control
        counted = read_statistics(inputs(header, "statistics"), header["model_revision"])
        drawn = partial(activity_matched_control, statistics=counted) if counted else random_control
        again = drawn(Neurons.load(source), **header["parameters"])
        if not again.table.equals(neurons.table):
            yield "drawing again gives other neurons"
        return
    sources = {read_json(source)["language"]: source for source in inputs(header, "statistics")}
    if not sources:  # imported neurons come from no statistics
        return
    statistics = {
        language: ActivationStatistics.load(sources[language].with_suffix(".npz")) for language in header["languages"]
    }
    name, values = "probability", activation_probabilities(statistics)
    if header["method"] == "lave":
        name, values = "mean", mean_activations(statistics, header["parameters"]["negative"])
    columns = neurons.table[[f"{name}_{language}" for language in header["languages"]]].to_numpy(np.float32)
    if not np.allclose(entropies(columns), neurons.table["entropy"], rtol=1e-6, atol=1e-7):
        yield f"its columns {name}_* do not give its entropies"
    again = SELECTIONS[header["method"]](statistics, **header["parameters"])
    tokens = {language: value.tokens for language, value in statistics.items()}
    for key, value in {**again.summary, "tokens": tokens}.items():
        if header[key] != value:
            yield f"its {key} is {header[key]}, selecting again gives {value}"
    where = [key for key in (*PLACE, "languages") if key in again.table]
    if not again.table[where].equals(neurons.table[where]):
        yield "selecting again from its statistics gives other neurons"
    if not np.array_equal(values.reshape(-1, len(statistics))[neurons.numbers()], columns):
        yield f"its columns {name}_* are not those of its statistics"


def check_stability(path: Path, header: dict) -> Iterator[str]:
    (source,) = inputs(header, "neurons")
    table = Neurons.load(source).table
    text = {"sep": "\t", "keep_default_na": False, "dtype": {"languages": str, "language": str}}
    frequency = pd.read_csv(path.with_suffix(".frequency.tsv"), **text)
    own = frequency[frequency["languages"] != ""].reset_index(drop=True)
    where = [key for key in PLACE if key in table]
    names = [",".join(languages) for languages in table["languages"]]
    if not own[where].equals(table[where]) or own["languages"].tolist() != names:
        yield f"its neurons are not those of {source}"
    for language, rows in pd.read_csv(path.with_suffix(".resamples.tsv"), **text).groupby("language"):
        column = f"frequency_{language}" if language in header["languages"] else "frequency"
        if not np.isclose(frequency[column].sum() * header["parameters"]["resamples"], rows["neurons"].sum()):
            yield f"its frequencies of {language} do not add up to its resamples"


def check_parameters(path: Path, header: dict) -> Iterator[str]:
    parameters = Parameters.load(path)
    if parameters.counts() != header["counts"]:
        yield f"holds {parameters.counts()} parameters, the header says {header['counts']}"
    for source in inputs(header, "parameters"):  # a control
        selected, seed = Parameters.load(source), header["parameters"]["seed"]
        if copies := inputs(header, "finetuned"):
            _, *weights = read_copies(*inputs(header, "model"), copies)
            (again,) = magnitude_matched_controls(selected, *weights, [seed])
        else:
            again = control_parameters(selected, seed)
        for part in ("index", "member"):
            ours, drawn = getattr(parameters, part), getattr(again, part)
            if ours.keys() != drawn.keys() or any(not np.array_equal(ours[name], drawn[name]) for name in ours):
                yield f"drawing again gives another {part}"


def check_steering(path: Path, header: dict) -> Iterator[str]:
    values = SteeringValues.load(path)
    (source,) = inputs(header, "neurons")
    again = steering_values(Neurons.load(source), read_statistics(inputs(header, "statistics"), None))
    if not again.table.equals(values.table) or again.sets != values.sets:
        yield "its values are not the means of its statistics"
