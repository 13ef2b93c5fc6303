"""Write a neuron set: the tables of a run as the configurations of a dataset, with a card and a header."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lape.artifacts.files import checked, read_json, sha256, write_header, writing_folder
from lape.contexts.stored import read_contexts
from lape.errors import LapeError
from lape.expert_units.selection import ExpertUnits
from lape.export.neuron_set import HEADER, data_file
from lape.export.set_card import set_card
from lape.export.terms import terms_of
from lape.interventions.steering import SteeringValues, steering_values
from lape.neurons.table import Neurons
from lape.playground.finished_run import EXPERT_UNITS, FinishedRun, Method
from lape.statistics.sums import read_statistics

# The types of contexts, which an empty list does not show.
_CONTEXT = {"document": pa.int64(), "centre": pa.int64(), "tokens": pa.list_(pa.string())}
_CONTEXTS = pa.list_(pa.struct(_CONTEXT | {"values": pa.list_(pa.float64())}))
_TYPES = {
    "language": pa.string(),
    "kind": pa.string(),
    "histogram": pa.list_(pa.int64()),
    "strongest": _CONTEXTS,
    "below": _CONTEXTS,
}
_TYPES |= dict.fromkeys(("share", "mean", "low", "width"), pa.float64())


@dataclass(frozen=True)
class Part:
    """A configuration of the dataset.

    Attributes:
        table: its rows.
        what: a row, in words.
        sources: the artifacts that the table was made from, by their headers.
    """

    table: pa.Table
    what: str
    sources: Sequence[Path]


def export_set(
    run: FinishedRun,
    model: str,
    folder: Path,
    *,
    methods: Sequence[str] = (),
    contexts: bool = False,
    text_licence: str | None = None,
) -> dict[str, int]:
    """Write what a run found on a model as a neuron set. The folder is written whole or not at all.

    Args:
        run: the run.
        model: of the run.
        folder: that is made.
        methods: whose neurons, values and contexts are written; none for all.
        contexts: write the texts that neurons fire on, of the methods for which the run has them.
        text_licence: see `lape.export.terms.terms_of`.

    Returns:
        configuration of the dataset -> number of its rows.

    Raises:
        LapeError: the folder is there, an artifact cannot be read, the run has no such model or method, or contexts are
            wanted and the run has none.
    """
    if folder.exists():
        raise LapeError(f"{folder}: is there already; name a new folder")
    found = {name: run.method(model, name) for name in methods or run.methods(model)}
    terms = terms_of(run, text_licence)
    parts = dict(_parts(run, model, found, contexts))
    if contexts and not any(name.startswith("contexts_") for name in parts):
        raise LapeError(f"{run.folder}: has no contexts of {', '.join(found)}; make them, or leave --contexts out")
    model_json = run.model_json(model)
    sources = dict.fromkeys([model_json, *(source for part in parts.values() for source in part.sources)])
    inputs = {path.relative_to(run.folder).as_posix(): sha256(path) for path in sources}
    header, methods = read_json(model_json, "model"), {name: _description(one) for name, one in found.items()}
    stability = _stability_header(run, model, found)

    with writing_folder(folder) as temporary:
        (temporary / "data").mkdir()
        for name, part in parts.items():
            pq.write_table(part.table, temporary / data_file(name))
        rows = {name: (part.table.num_rows, part.what) for name, part in parts.items()}
        card = set_card(header, methods, rows, terms, stability, inputs)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        write_header(
            temporary / HEADER,
            "neuron_set",
            model=header["name"],
            model_revision=header["revision"],
            checkpoint=header["path"] if header["source"] == "hub" else None,
            methods=methods,
            text={"name": terms.text, "licence": terms.licence, "shared": terms.shared},
            parameters={"methods": list(found), "contexts": contexts, "text_licence": text_licence},
            inputs=inputs,
            outputs=sorted(path for path in temporary.rglob("*") if path.is_file()),
        )
    return {name: part.table.num_rows for name, part in parts.items()}


def _parts(run: FinishedRun, model: str, found: Mapping[str, Method], contexts: bool) -> Iterator[tuple[str, Part]]:
    """The configurations of the dataset by name, the neurons of the first method first."""
    for name, method in found.items():
        if name == EXPERT_UNITS:
            what = "an expert unit of a language (Kojima et al. 2024)"
            yield name, _part(ExpertUnits.load(method.units).table, what, method.units)
            continue
        neurons = Neurons.load(method.neurons)
        table = neurons.table.assign(languages=list(map(list, neurons.table["languages"])))
        yield f"neurons_{name}", _part(table, "a neuron, and the languages that it belongs to", method.neurons)
        if method.values or method.statistics:
            values, sources = _values(neurons, method)
            what = "a neuron of a language, and its mean activation on that language"
            yield f"steering_{name}", _part(values.table, what, *sources)
        if headers := contexts and sorted(run.folder.glob(f"contexts/{model}/{name}/*.json")):
            what = "a neuron in a language, and texts that it fires on"
            yield f"contexts_{name}", Part(_contexts(headers), what, headers)
    if header := _stability_header(run, model, found):
        stability = read_json(header, "stability")
        frequency = pd.read_csv(checked(header, stability, ".frequency.tsv"), sep="\t", keep_default_na=False)
        frequency["languages"] = [names.split(",") if names else [] for names in frequency["languages"]]
        what = "a neuron, and the share of resamples of the text that select it"
        yield f"frequency_{stability['method']}", _part(frequency, what, header)


def _part(table: pd.DataFrame, what: str, *sources: Path) -> Part:
    return Part(pa.Table.from_pandas(table, preserve_index=False), what, sources)


def _values(neurons: Neurons, method: Method) -> tuple[SteeringValues, Sequence[Path]]:
    """The mean activations of a method's neurons, and what they are from."""
    if method.values:
        return SteeringValues.load(method.values), [method.values]
    headers = list(method.statistics.values())
    return steering_values(neurons, read_statistics(headers, neurons.summary.get("model_revision"))), headers


def _contexts(headers: Sequence[Path]) -> pa.Table:
    """The contexts of a method's neurons in all languages, one row per neuron and language."""
    rows = []
    for header in headers:
        language = read_json(header, "contexts")["language"]
        rows += [{"language": language, **row} for row in read_contexts(header)]
    schema = [(name, _TYPES.get(name, pa.int64())) for name in (rows[0] if rows else ())]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def _stability_header(run: FinishedRun, model: str, found: Mapping[str, Method]) -> Path | None:
    """The header of the stability of a method's neurons; None where the run has not measured it."""
    header = run.folder / "stability" / f"{model}.json"
    return header if header.is_file() and read_json(header, "stability")["method"] in found else None


def _description(method: Method) -> dict:
    """What a method's header says of its neurons or units, without what a run's folder alone can tell."""
    if method.units:
        header = read_json(method.units, "expert_units")
        return {name: header[name] for name in ("artifact", "languages", "parameters")}
    neurons = Neurons.load(method.neurons)
    return {"artifact": "neurons", **neurons.description(), "parameters": neurons.summary.get("parameters", {})}
