"""Check a finished run: every hash, and that the numbers of each stage follow from those before it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lape.artifact import read_array, read_json, sha256
from lape.errors import LapeError
from lape.neurons import Neurons
from lape.selection import activation_probabilities, entropies, random_control, select_lape
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
    if header["method"] == "random":
        (source,) = _inputs(header, "neurons")
        again = random_control(Neurons.load(source), **header["parameters"])
        if not again.table.equals(neurons.table):
            yield "drawing again gives other neurons"
        return
    names = [f"probability_{language}" for language in header["languages"]]
    probabilities = neurons.table[names].to_numpy(np.float32)
    if not np.allclose(entropies(probabilities), neurons.table["entropy"], rtol=1e-6, atol=1e-7):
        yield "its probabilities do not give its entropies"
    sources = {read_json(source)["language"]: source for source in _inputs(header, "statistics")}
    statistics = {
        language: ActivationStatistics.load(sources[language].with_suffix(".npz")) for language in header["languages"]
    }
    again = select_lape(statistics, **header["parameters"])
    tokens = {language: value.tokens for language, value in statistics.items()}
    for name, value in {**again.summary, "tokens": tokens}.items():
        if header[name] != value:
            yield f"its {name} is {header[name]}, selecting again gives {value}"
    columns = [name for name in ("layer", "expert", "index", "languages") if name in again.table]
    if not again.table[columns].equals(neurons.table[columns]):
        yield "selecting again from its statistics gives other neurons"
    rows = again.table["layer"], again.places()
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
    for source in _inputs(header, "tokens"):
        language, sizes = read_json(source)["language"], read_array(source.with_suffix(".bytes.npy"))
        own = chunks[chunks["evaluated"] == language]
        predicted = read_array(source.with_suffix(".npy"), mmap=True).shape[1] - 1
        if not np.array_equal(own["bytes"], sizes) or not (own["tokens"] == predicted).all():
            yield f"its chunks of {language} are not those of {source}"
    hooks = header["hooks"]
    if not all(layer["calls"] for layer in hooks["by_layer"]):
        yield "a hook never fired"
    expected = [Neurons.load(source).counts()[header["deactivated"]] for source in _inputs(header, "neurons")]
    if [hooks["neurons"]] != (expected or [0]) or sum(layer["neurons"] for layer in hooks["by_layer"]) != hooks[
        "neurons"
    ]:
        yield f"its hooks are on {hooks['neurons']} neurons, not on those of its set"


def _check_table(path: Path, header: dict) -> Iterator[str]:
    item = header["item"]
    frame = TABLES[item].rows(_inputs(header, TABLES[item].artifact))
    for suffix, text in texts(item, frame).items():
        if path.with_suffix(suffix).read_text(encoding="utf-8") != text:
            yield f"making {path.with_suffix(suffix).name} again from its inputs gives another"


_CHECKS: dict[str, Callable[[Path, dict], Iterator[str]]] = {
    "corpus": _check_corpus,
    "tokens": _check_tokens,
    "statistics": _check_statistics,
    "neurons": _check_neurons,
    "perplexity": _check_perplexity,
    "table": _check_table,
}


def _matrices(config: dict, headers: dict[str, dict]) -> Iterator[tuple[str, str]]:
    """The matrix of every configured model has a baseline, a control and a row for every language."""
    rows = [header for header in headers.values() if header["artifact"] == "perplexity"]
    for model in config["models"]:
        done = {header["deactivated"] for header in rows if header["model"] == model}
        missing = [name for name in ["baseline", *config["languages"], "random"] if name not in done]
        if missing:
            yield f"results/{config['run']}/perplexity/{model}", f"lacks the rows {', '.join(missing)}"
