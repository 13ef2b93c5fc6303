"""Check a finished run: every hash, and that the numbers of each stage follow from those before it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lape.artifact import read_array, read_json, sha256
from lape.controls import random_control
from lape.errors import LapeError
from lape.neurons import PLACE, Neurons
from lape.parameter_variation import control_parameters
from lape.parameters import Parameters
from lape.selection import SELECTIONS, activation_probabilities, entropies, mean_activations
from lape.statistics import ActivationStatistics
from lape.tables import TABLES, texts


def audit(manifest: dict) -> Iterator[tuple[str, str]]:
    """Recompute the hashes of a manifest and check every artifact's invariants.

    What was made from a file that is named is not judged as well: it would only be named after it.

    Args:
        manifest: what `lape.manifest.build_manifest` made; its paths are relative to the working directory.

    Yields:
        (path, what is wrong with it), one for every fault. Nothing is yielded where all holds.
    """
    artifacts = manifest["artifacts"]
    yield from _differing(manifest["files"])
    broken: set[str] = set()
    for path, entry in artifacts.items():
        faults = list(_differing({path: entry["sha256"], **entry["files"]}))
        yield from faults
        if faults:
            broken |= {path, *entry["files"]}

    hashes = {name: digest for entry in artifacts.values() for name, digest in entry["files"].items()}
    hashes |= {path: entry["sha256"] for path, entry in artifacts.items()}
    headers: dict[str, dict] = {}
    for path, entry in artifacts.items():
        if path in broken:
            continue
        try:
            headers[path] = read_json(path, entry["artifact"])
            yield from ((path, fault) for fault in _provenance(path, entry, headers[path], hashes))
            if not broken.intersection(headers[path]["inputs"]) and entry["artifact"] in _CHECKS:
                yield from ((path, fault) for fault in _CHECKS[entry["artifact"]](Path(path), headers[path]))
        except Exception as error:  # under a forged hash anything can lie there
            yield (
                path,
                f"cannot be checked ({type(error).__name__}: {(str(error) or 'no more is known').splitlines()[0]})",
            )
    if not any(artifacts[path]["artifact"] == "perplexity" for path in broken.intersection(artifacts)):
        yield from _matrices(manifest["config"], headers)


def _differing(files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Files whose hash is another."""
    for name, expected in files.items():
        try:
            if sha256(name) != expected:
                yield name, "differs from the hash in the manifest"
        except LapeError:
            yield name, "is missing or cannot be read"


def _provenance(path: str, entry: dict, header: dict, hashes: dict[str, str]) -> Iterator[str]:
    """The manifest repeats the header, and the inputs that the header names are those that stand now."""
    folder = Path(path).parent
    if entry["files"] != {str(folder / name): digest for name, digest in header["outputs"].items()}:
        yield "names other data files or hashes than the manifest"
    for key in ("rule", "command", "inputs", "parameters", "versions"):
        if entry[key] != header[key]:
            yield f"has another entry for {key} than the manifest"
    for name, digest in header["inputs"].items():
        # A file from outside (the user's texts, a model's weights) may be gone by now.
        stands = hashes.get(name) or (sha256(name) if Path(name).is_file() else digest)
        if stands != digest:
            yield f"was made from another {name}; run the workflow again"


def _inputs(header: dict, artifact: str) -> list[Path]:
    """Headers of one kind of artifact among the inputs, in their order."""
    headers = [Path(name) for name in header["inputs"] if name.endswith(".json")]
    return [path for path in headers if read_json(path).get("artifact") == artifact]


def _check_corpus(path: Path, header: dict) -> Iterator[str]:
    identities = pq.read_table(path.with_suffix(".parquet"), columns=["id"])["id"]
    if len(identities) != header["documents"] or len(identities.unique()) != len(identities):
        yield f"holds {len(identities)} documents, the header says {header['documents']}"


def _check_tokens(path: Path, header: dict) -> Iterator[str]:
    chunks = read_array(path.with_suffix(".npy"), mmap=True)
    if chunks.size != header["tokens"] or len(chunks) != header["chunks"]:
        yield f"holds {chunks.size} tokens in {len(chunks)} chunks, the header says {header['tokens']}"
    (model,) = _inputs(header, "model")
    vocabulary = read_json(model)["vocab_size"]
    if chunks.size and (chunks.min() < 0 or chunks.max() >= vocabulary):
        yield f"holds a token id that is negative or outside the vocabulary of {vocabulary}"
    if int(read_array(path.with_suffix(".bytes.npy")).sum()) != header["predicted_bytes"]:
        yield "predicted_bytes is not the sum over its chunks"


def _check_statistics(path: Path, header: dict) -> Iterator[str]:
    whole = ActivationStatistics.load(path.with_suffix(".npz"))
    if whole.count.shape != (header["layers"], header["neurons_per_layer"]) or whole.tokens != header["tokens"]:
        yield f"has shape {whole.count.shape} and {whole.tokens} tokens, not those of its header"
    if whole.count.min() < 0 or (whole.count > whole.denominator).any():
        yield f"has a count outside 0 ... {whole.tokens}"
    if (whole.square < 0).any() or (whole.total**2 > whole.square * whole.denominator * (1 + 1e-9) + 1e-6).any():
        yield "has a sum of activations that its sum of squares does not allow"
    if not header["shards"]:  # imported counts
        return
    parts = [ActivationStatistics.load(path.parent / shard["file"]) for shard in header["shards"]]
    for shard, part in zip(header["shards"], parts, strict=True):
        if part.tokens != shard["tokens"]:
            yield f"shard {shard['file']} has {part.tokens} tokens, the header says {shard['tokens']}"
    added = sum(parts[1:], parts[0])
    if added.tokens != whole.tokens or not np.array_equal(added.count, whole.count):
        yield "is not the sum of its shards"
    elif not all(
        np.array_equal(getattr(added, name), getattr(whole, name)) for name in ("totals", "squares", "above", "rows")
    ):
        yield "its activation sums are not those of its shards"
    # The tokens that were counted are the ones that lie there, exactly.
    for name in header["inputs"]:
        if name.endswith(".npy"):
            chunks = read_array(name, mmap=True)
            there = chunks[:, header["parameters"]["skip_first"] :].size
            if there != whole.tokens:
                yield f"counted {whole.tokens} tokens, {name} holds another number"


def _check_neurons(path: Path, header: dict) -> Iterator[str]:
    neurons = Neurons.load(path)
    if neurons.counts() != header["counts"]:
        yield f"holds {neurons.counts()} neurons, the header says {header['counts']}"
    if (
        len(neurons.table) != header["selected"]
        or pd.DataFrame({"layer": neurons.table["layer"], "place": neurons.places()}).duplicated().any()
    ):
        yield f"holds {len(neurons.table)} rows, the header says {header['selected']} different neurons"
    for source in _inputs(header, "neurons"):  # a control
        again = random_control(Neurons.load(source), **header["parameters"])
        if not again.table.equals(neurons.table):
            yield "drawing again gives other neurons"
        return
    sources = {read_json(source)["language"]: source for source in _inputs(header, "statistics")}
    if not sources:  # imported neurons
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
    if not np.array_equal(values[neurons.table["layer"], neurons.places()], columns):
        yield f"its columns {name}_* are not those of its statistics"


def _check_stability(path: Path, header: dict) -> Iterator[str]:
    (source,) = _inputs(header, "neurons")
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


def _check_instructions(path: Path, header: dict) -> Iterator[str]:
    with open(path.with_suffix(".jsonl"), encoding="utf-8") as file:
        if (lines := sum(1 for _ in file)) != header["examples"]:
            yield f"has {lines} examples, the header says {header['examples']}"


def _check_parameters(path: Path, header: dict) -> Iterator[str]:
    parameters = Parameters.load(path)
    if parameters.counts() != header["counts"]:
        yield f"holds {parameters.counts()} parameters, the header says {header['counts']}"
    for source in _inputs(header, "parameters"):  # a control
        again = control_parameters(Parameters.load(source), **header["parameters"])
        for part in ("index", "member"):
            ours, drawn = getattr(parameters, part), getattr(again, part)
            if ours.keys() != drawn.keys() or any(not np.array_equal(ours[name], drawn[name]) for name in ours):
                yield f"drawing again gives another {part}"


def _check_perplexity(path: Path, header: dict) -> Iterator[str]:
    chunks = pd.read_csv(path.with_suffix(".tsv"), sep="\t", keep_default_na=False)
    if [row["evaluated"] for row in header["rows"]] != header["languages"]:
        yield "its row of the matrix is not complete: a language is missing"
    for row in header["rows"]:
        own = chunks[chunks["evaluated"] == row["evaluated"]]
        mean = own["nll"].sum() / own["tokens"].sum()
        bits = own["nll"].sum() / np.log(2) / own["bytes"].sum()
        same = np.allclose([mean, np.exp(mean), bits], [row["nll"], row["ppl"], row["bits_per_byte"]], rtol=1e-12)
        if not same or own["tokens"].sum() != row["tokens"]:
            yield f"its measures of {row['evaluated']} do not follow from its chunks"
    for source in _inputs(header, "tokens"):
        language, sizes = read_json(source)["language"], read_array(source.with_suffix(".bytes.npy"))
        own = chunks[chunks["evaluated"] == language]
        predicted = read_array(source.with_suffix(".npy"), mmap=True).shape[1] - 1
        if not np.array_equal(own["bytes"], sizes) or not (own["tokens"] == predicted).all():
            yield f"its chunks of {language} are not those of {source}"
    yield from _check_deactivation(header)


def _check_deactivation(header: dict) -> Iterator[str]:
    """What was deactivated is the whole set, and every hook fired."""
    hooks, language = header["hooks"], header["deactivated"]
    for source in _inputs(header, "neurons"):
        expected = Neurons.load(source).counts()[language]
        if not hooks["neurons"] == sum(layer["neurons"] for layer in hooks["by_layer"]) == expected:
            yield f"its hooks are on {hooks['neurons']} neurons, not on those of its set"
        if not all(layer["calls"] for layer in hooks["by_layer"]):
            yield "a hook never fired"
        read = sum(read_json(path)["tokens"] for path in _inputs(header, "tokens"))
        if read_json(source).get("experts", 1) == 1 and any(layer["tokens"] != read for layer in hooks["by_layer"]):
            yield f"its hooks did not see the {read} tokens that were read"
    for source in _inputs(header, "parameters"):
        expected = Parameters.load(source).counts()[language]
        if hooks["parameters"] != expected or not hooks["nonzero"] <= expected:
            yield f"it zeroed {hooks['parameters']} parameters, its set has {expected}"
    if language == "baseline" and hooks:
        yield "is the baseline and has hooks"


def _check_table(path: Path, header: dict) -> Iterator[str]:
    item = header["item"]
    frame = TABLES[item].rows(_inputs(header, TABLES[item].artifact), **header["parameters"])
    for suffix, text in texts(item, frame).items():
        if path.with_suffix(suffix).read_text(encoding="utf-8") != text:
            yield f"making {path.with_suffix(suffix).name} again from its inputs gives another"


_CHECKS: dict[str, Callable[[Path, dict], Iterator[str]]] = {
    "corpus": _check_corpus,
    "tokens": _check_tokens,
    "statistics": _check_statistics,
    "neurons": _check_neurons,
    "stability": _check_stability,
    "instructions": _check_instructions,
    "parameters": _check_parameters,
    "perplexity": _check_perplexity,
    "table": _check_table,
}


def _matrices(config: dict, headers: dict[str, dict]) -> Iterator[tuple[str, str]]:
    """Every configured model has a baseline and LAPE's matrix with its control, and no matrix lacks a row."""
    done: dict[str, set[str]] = {}
    for path, header in headers.items():
        if header["artifact"] == "perplexity":
            done.setdefault(str(Path(path).parent), set()).add(header["deactivated"])
    folders = [f"results/{config['run']}/perplexity/{model}" for model in config["models"]]
    wanted = {f"{folder}/{method}" for folder in folders for method in ("lape", "matched_lape")}
    wanted |= {folder for folder, rows in done.items() if rows != {"baseline"} and "/sweep-" not in folder}
    for folder in sorted(wanted):
        missing = [language for language in config["languages"] if language not in done.get(folder, ())]
        if missing:
            yield folder, f"lacks the row {', '.join(missing)}"
    for folder in folders:
        if "baseline" not in done.get(f"{folder}/none", ()):
            yield folder, "lacks the row baseline"
