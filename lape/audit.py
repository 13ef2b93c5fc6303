"""Check a finished run: every hash, and that the numbers of each stage follow from those before it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifact import sha256
from lape.errors import LapeError
from lape.neurons import Neurons
from lape.selection import activation_probabilities, entropies, select_lape
from lape.statistics import ActivationStatistics


def audit(manifest: dict) -> Iterator[tuple[str, str]]:
    """Recompute the hashes of a manifest and check every artifact's invariants.

    Args:
        manifest: what `lape.manifest.build_manifest` made; its paths are relative to the working directory.

    Yields:
        (path, what is wrong with it), one for every fault. Nothing is yielded where all holds.
    """
    artifacts = manifest["artifacts"]
    headers: dict[str, dict] = {}
    for path, entry in artifacts.items():
        faults = list(_files(path, entry))
        yield from faults
        if any(fault[0] == path for fault in faults):
            continue
        headers[path] = json.loads(Path(path).read_text(encoding="utf-8"))
        yield from _provenance(path, entry, headers[path], artifacts)

    for path, header in headers.items():
        check = _CHECKS.get(header["artifact"])
        if check is None:
            continue
        try:
            yield from ((path, fault) for fault in check(Path(path), header))
        except (LapeError, KeyError, ValueError, OSError, TypeError) as error:
            yield path, f"cannot be checked ({type(error).__name__}: {error})"
    yield from _matrices(headers)


def _files(path: str, entry: dict) -> Iterator[tuple[str, str]]:
    """Hashes of the header and of its data files."""
    for name, expected in {path: entry["sha256"], **entry["files"]}.items():
        try:
            if sha256(name) != expected:
                yield name, "differs from the hash in the manifest"
        except LapeError:
            yield name, "is missing or cannot be read"


def _provenance(path: str, entry: dict, header: dict, artifacts: dict) -> Iterator[tuple[str, str]]:
    """The manifest repeats the header, and the inputs that the header names are those that stand now."""
    folder = Path(path).parent
    if entry["files"] != {str(folder / name): digest for name, digest in header["outputs"].items()}:
        yield path, "names other data files or hashes than the manifest"
    for key in ("inputs", "parameters", "versions"):
        if entry[key] != header[key]:
            yield path, f"has other {key} than the manifest"
    known = {name: digest for other in artifacts.values() for name, digest in other["files"].items()}
    known |= {name: other["sha256"] for name, other in artifacts.items()}
    for name, digest in header["inputs"].items():
        if name in known and known[name] != digest:
            yield path, f"was made from another {name}; run the workflow again"


def _check_tokens(path: Path, header: dict) -> Iterator[str]:
    chunks = np.load(path.with_suffix(".npy"), mmap_mode="r")
    if chunks.size != header["tokens"] or len(chunks) != header["chunks"]:
        yield f"holds {chunks.size} tokens in {len(chunks)} chunks, the header says {header['tokens']}"
    if chunks.size and chunks.min() < 0:
        yield "holds a negative token id"
    if int(np.load(path.with_suffix(".bytes.npy")).sum()) != header["predicted_bytes"]:
        yield "predicted_bytes is not the sum over its chunks"


def _check_statistics(path: Path, header: dict) -> Iterator[str]:
    whole = ActivationStatistics.load(path.with_suffix(".npz"))
    if whole.count.shape != (header["layers"], header["neurons_per_layer"]) or whole.tokens != header["tokens"]:
        yield f"has shape {whole.count.shape} and {whole.tokens} tokens, not those of its header"
    if whole.count.min() < 0 or whole.count.max() > whole.tokens:
        yield f"has a count outside 0 ... {whole.tokens}"
    if not np.isfinite(whole.total).all():
        yield "has a sum that is NaN or infinite"
    added = ActivationStatistics.zeros(whole.count.shape)
    for shard in header["shards"]:
        part = ActivationStatistics.load(path.parent / shard["file"])
        if part.tokens != shard["tokens"]:
            yield f"shard {shard['file']} has {part.tokens} tokens, the header says {shard['tokens']}"
        added += part
    if added.tokens != whole.tokens or not np.array_equal(added.count, whole.count):
        yield "is not the sum of its shards"
    elif not np.array_equal(added.total, whole.total):
        yield "its activation sums are not those of its shards"
    # The tokens that were counted are the ones that lie there, exactly.
    for name in header["inputs"]:
        if name.endswith(".npy") and np.load(name, mmap_mode="r").size != whole.tokens:
            yield f"counted {whole.tokens} tokens, {name} holds another number"


def _check_neurons(path: Path, header: dict) -> Iterator[str]:
    neurons = Neurons.load(path)
    if neurons.counts() != header["counts"]:
        yield f"holds {neurons.counts()} neurons, the header says {header['counts']}"
    if len(neurons.table) != header["selected"] or neurons.table.duplicated(["layer", "index"]).any():
        yield f"holds {len(neurons.table)} rows, the header says {header['selected']} different neurons"
    if header["method"] != "lape":
        return
    names = [f"probability_{language}" for language in header["languages"]]
    probabilities = neurons.table[names].to_numpy(np.float32)
    if not np.allclose(entropies(probabilities), neurons.table["entropy"], rtol=1e-6, atol=1e-7):
        yield "its probabilities do not give its entropies"
    statistics = {}
    for name in header["inputs"]:
        if name.endswith(".json"):
            source = json.loads(Path(name).read_text(encoding="utf-8"))
            statistics[source["language"]] = ActivationStatistics.load(Path(name).with_suffix(".npz"))
    statistics = {language: statistics[language] for language in header["languages"]}
    again = select_lape(statistics, **header["parameters"])
    columns = ["layer", "index", "languages"]
    if not again.table[columns].equals(neurons.table[columns]):
        yield "selecting again from its statistics gives other neurons"
    rows = again.table["layer"], again.table["index"]
    if not np.array_equal(activation_probabilities(statistics)[rows], probabilities):
        yield "its probabilities are not those of its statistics"


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
    hooks = header["hooks"]
    if header["method"] != "none" and hooks["neurons"] and not all(layer["calls"] for layer in hooks["by_layer"]):
        yield "a hook never fired"


_CHECKS: dict[str, Callable[[Path, dict], Iterator[str]]] = {
    "tokens": _check_tokens,
    "statistics": _check_statistics,
    "neurons": _check_neurons,
    "perplexity": _check_perplexity,
}


def _matrices(headers: dict[str, dict]) -> Iterator[tuple[str, str]]:
    """Every model's matrix has a baseline, a control and a row for every language."""
    rows = {path: header for path, header in headers.items() if header["artifact"] == "perplexity"}
    for model in sorted({header["model"] for header in rows.values()}):
        own = {path: header for path, header in rows.items() if header["model"] == model}
        done = {header["deactivated"] for header in own.values()}
        path, some = next(iter(own.items()))
        missing = [name for name in ["baseline", *some["languages"], "random"] if name not in done]
        if missing:
            yield path, f"the matrix of {model} lacks the rows {', '.join(missing)}"
