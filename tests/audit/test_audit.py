"""`lape audit` under forged hashes, which do not hide wrong numbers."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tampering import MANIFEST, RUN, rebuild_manifest, reseal, rewrite

from lape.artifacts.files import read_json, write_json
from lape.statistics.sums import ActivationStatistics

pytestmark = pytest.mark.workflow


def test_untouched_run(tampered, faults):
    assert faults() == []
    reseal()
    assert faults() == []


def test_a_stale_row_is_named(tampered, faults):
    """The neurons were drawn anew, the row of the matrix was not measured anew."""
    shutil.copytree(RUN / "perplexity", "old")
    tampered.configure(neurons={"control_seed": 1})
    tampered.run(str(MANIFEST))
    for suffix in (".json", ".tsv"):
        shutil.copy(f"old/tiny/active_lape/fr{suffix}", RUN / "perplexity/tiny/active_lape")
    rebuild_manifest()
    stale = [fault for path, fault in faults() if path == str(RUN / "perplexity/tiny/active_lape/fr.json")]
    assert [fault for fault in stale if f"was made from another {RUN / 'neurons/tiny/active_lape.tsv'}" in fault]


# Numbers that are wrong under hashes that are right.


def edit_statistics(name: str, **arrays) -> None:
    """Replace arrays of an npz: functions of the old ones."""
    path = RUN / "statistics/tiny" / name
    old = ActivationStatistics.load(path)
    new = {key: change(getattr(old, key)) for key, change in arrays.items()}
    dataclasses.replace(old, **new).save(path)


def at_first(change):
    """A function that changes the first element of an array."""

    def edit(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[0] = change(array.flat[0])
        return array

    return edit


@pytest.mark.parametrize(
    ("names", "arrays", "fault"),
    [
        (["fr.npz"], {"count": at_first(lambda n: n + 1)}, "is not the sum of its shards"),
        (["fr.shards/1.npz"], {"count": at_first(lambda n: n + 1)}, "is not the sum of its shards"),
        (["fr.npz"], {"totals": at_first(lambda n: n + 1)}, "its activation sums are not those of its shards"),
        (["fr.npz", "fr.shards/0.npz"], {"count": at_first(lambda n: n + 513)}, "has a count outside 0 ... 512"),
        (["fr.npz", "fr.shards/0.npz"], {"count": at_first(lambda n: n - 513)}, "has a count outside 0 ... 512"),
        (["fr.npz"], {"above": lambda n: n + 1}, "its activation sums are not those of its shards"),
        (["fr.npz", "fr.shards/0.npz"], {"totals": at_first(lambda n: n + 10**6)}, "its sum of squares does not allow"),
        (
            ["fr.npz", "fr.shards/0.npz"],
            {"squares": at_first(lambda n: n - 10**6)},
            "its sum of squares does not allow",
        ),
        (["fr.npz"], {"tokens": lambda n: n - 1}, "511 tokens"),
        (["fr.shards/3.npz"], {"tokens": lambda n: n - 1}, "shard fr.shards/3.npz has 127 tokens"),
    ],
)
def test_statistics_that_cannot_be(tampered, faults, names, arrays, fault):
    for name in names:
        edit_statistics(name, **arrays)
    reseal()
    assert [what for path, what in faults() if path == str(RUN / "statistics/tiny/fr.json") and fault in what]


def test_statistics_of_fewer_tokens_than_there_are(tampered, faults):
    """A shard is left out everywhere: only the tokens that lie there know better."""
    path = RUN / "statistics/tiny/fr.json"
    header, whole = read_json(path), ActivationStatistics.load(path.with_suffix(".npz"))
    parts = [ActivationStatistics.load(path.parent / shard["file"]) for shard in header["shards"][:3]]
    left = sum(parts[1:], parts[0])
    assert left.tokens < whole.tokens
    left.save(path.with_suffix(".npz"))
    header["outputs"] = {name: digest for name, digest in header["outputs"].items() if "/3." not in name}
    rewrite(path, shards=header["shards"][:3], tokens=left.tokens, outputs=header["outputs"])
    reseal()
    named = [what for name, what in faults() if name == str(path)]
    assert named == [f"counted 384 tokens, {RUN / 'tokens/tiny/fr/train.npy'} holds another number"]


@pytest.mark.parametrize(
    ("name", "edit", "fault"),
    [
        ("fr/train.npy", lambda ids: ids[:-1], "holds 496 tokens in 31 chunks"),
        ("fr/train.npy", lambda ids: np.where(ids == ids.max(), -1, ids), "negative"),
        ("fr/valid.npy", lambda ids: np.where(ids == ids.max(), 400, ids), "vocabulary"),
        ("fr/valid.bytes.npy", lambda sizes: sizes + 1, "predicted_bytes"),
        ("fr/train.documents.npy", lambda tokens: tokens[1:], "tokens of its documents"),
    ],
)
def test_tokens_that_cannot_be(tampered, faults, name, edit, fault):
    path = RUN / "tokens/tiny" / name
    np.save(path, edit(np.load(path)))
    reseal()
    header = str(path).split(".")[0] + ".json"
    assert [what for named, what in faults() if named == header and fault in what]


def test_corpus_that_lost_a_document(tampered, faults):
    path = RUN / "corpus/fr.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    reseal()
    assert faults() == [
        (str(RUN / "corpus/fr.json"), "holds 23 documents, the header says 24"),
        (str(RUN / "tokens/tiny/fr/train.json"), "was sampled from 19 documents, the split has 18 now"),
    ]


def edit_table(path: Path, edit) -> None:
    """Change a TSV in place."""
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    edit(table).to_csv(path, sep="\t", index=False)


def other_neuron(table: pd.DataFrame) -> pd.DataFrame:
    """Replace the last row's neuron by one that is not in the table."""
    taken = set(zip(table["layer"], table["index"], strict=True))
    layer = int(table["layer"].iloc[-1])
    table.loc[len(table) - 1, "index"] = next(index for index in range(31, -1, -1) if (layer, index) not in taken)
    return table.sort_values(["layer", "index"])


@pytest.mark.parametrize(
    ("method", "edit", "fault"),
    [
        ("lape", lambda table: table.assign(entropy=table["entropy"] * 0.999), "do not give its entropies"),
        ("lape", lambda table: table.iloc[1:], "rows, the header says"),
        ("lape", lambda table: pd.concat([table.iloc[:1], table.iloc[:1], table.iloc[2:]]), "different neurons"),
        ("lape", other_neuron, "selecting again from its statistics gives other neurons"),
        ("lape", lambda table: table.assign(probability_fr=table["probability_fr"] / 2), "not those of its statistics"),
        ("active_lape", lambda table: table.iloc[1:], "rows, the header says"),
        ("active_lape", other_neuron, "drawing again gives other neurons"),
    ],
)
def test_neurons_that_do_not_follow(tampered, faults, method, edit, fault):
    path = RUN / f"neurons/tiny/{method}.tsv"
    edit_table(path, edit)
    reseal()
    assert [what for named, what in faults() if named == str(path.with_suffix(".json")) and fault in what]


@pytest.mark.parametrize(
    ("field", "value"), [("threshold", 0.5), ("entropy_at_cut", 0.1), ("tokens", {"fr": 512, "ja": 511})]
)
def test_neurons_header_that_does_not_follow(tampered, faults, field, value):
    path = RUN / "neurons/tiny/lape.json"
    rewrite(path, **{field: value})
    reseal()
    assert [what for named, what in faults() if named == str(path) and field in what]


ROW = RUN / "perplexity/tiny/lape/fr.json"


def without_chunk(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(index=table.index[-1])


def test_row_of_the_matrix_without_a_language(tampered, faults):
    rewrite(ROW, rows=read_json(ROW)["rows"][:1])
    reseal()
    assert (str(ROW), "its row of the matrix is not complete: a language is missing") in faults()


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda table: table.assign(nll=table["nll"] * 1.001), "its measures of fr do not follow from its chunks"),
        (lambda table: table.assign(bytes=table["bytes"] + 1), "its measures of fr do not follow from its chunks"),
        (without_chunk, "its measures of ja do not follow from its chunks"),
    ],
)
def test_row_that_does_not_follow_from_its_chunks(tampered, faults, edit, fault):
    edit_table(ROW.with_suffix(".tsv"), edit)
    reseal()
    assert (str(ROW), fault) in faults()


def test_row_measured_on_other_chunks(tampered, faults):
    """One chunk is left out, and the measures are those of the rest."""
    edit_table(ROW.with_suffix(".tsv"), without_chunk)
    chunks = pd.read_csv(ROW.with_suffix(".tsv"), sep="\t")
    rows = read_json(ROW)["rows"]
    own = chunks[chunks["evaluated"] == "ja"]
    nll, tokens, size = own["nll"].sum(), int(own["tokens"].sum()), int(own["bytes"].sum())
    measures = {"nll": nll / tokens, "ppl": float(np.exp(nll / tokens)), "bits_per_byte": nll / np.log(2) / size}
    rewrite(ROW, rows=[rows[0], rows[1] | {"tokens": tokens, "bytes": size} | measures])
    reseal()
    assert [what for path, what in faults() if path == str(ROW) and "ja" in what and "chunks" in what]


def test_hook_that_never_fired(tampered, faults):
    hooks = read_json(ROW)["hooks"]
    hooks["by_layer"][0]["calls"] = 0
    rewrite(ROW, hooks=hooks)
    reseal()
    assert (str(ROW), "a hook never fired") in faults()


def test_hooks_of_another_number_of_neurons(tampered, faults):
    hooks = read_json(ROW)["hooks"]
    rewrite(ROW, hooks=hooks | {"neurons": hooks["neurons"] + 1})
    reseal()
    assert [what for path, what in faults() if path == str(ROW) and "neurons" in what]


@pytest.mark.parametrize("missing", ["lape/fr", "active_lape/ja", "none/baseline"])
def test_matrix_without_a_row(tampered, faults, missing):
    manifest = read_json(MANIFEST)
    del manifest["artifacts"][str(RUN / f"perplexity/tiny/{missing}.json")]
    write_json(MANIFEST, manifest)
    folder, row = (RUN / "perplexity/tiny" / missing).parent, missing.split("/")[1]
    assert (str(folder if row != "baseline" else folder.parent), f"lacks the row {row}") in faults()


@pytest.mark.parametrize("suffix", [".csv", ".md", ".html", ".latex/neurons_per_language-1.tex"])
def test_table_that_does_not_follow(tampered, faults, suffix):
    path = RUN / f"tables/neurons_per_language{suffix}"
    counts = read_json(RUN / "neurons/tiny/lape.json")["counts"]
    path.write_text(path.read_text().replace(str(counts["ja"]), str(counts["ja"] + 1), 1))
    reseal()
    assert [
        what for named, what in faults() if named == str(RUN / "tables/neurons_per_language.json") and path.name in what
    ]


def test_unreadable_artifacts_under_forged_hashes_are_named(tampered, faults):
    broken = ["statistics/tiny/fr.npz", "tokens/tiny/fr/train.npy", "corpus/ja.parquet"]
    broken.append("neurons/tiny/active_lape.tsv")
    for name in [*broken, "perplexity/tiny/lape/fr.tsv"]:
        (RUN / name).write_bytes(b"")
    rewrite(RUN / "perplexity/tiny/active_lape/fr.json", hooks=[])
    rewrite(RUN / "tables/neurons_per_language.json", parameters={"unknown": 1})
    rewrite(RUN / "tables/neurons_per_layer.json", item="tables6_10")  # what an earlier version called it
    reseal()
    found = faults()
    named = {path for path, fault in found if fault.startswith("cannot be checked")}
    assert {str((RUN / name).with_suffix(".json")) for name in [*broken, "perplexity/tiny/active_lape/fr.x"]} <= named
    assert str(RUN / "tables/neurons_per_language.json") in named
    earlier = {path for path, fault in found if fault.startswith("is of an earlier version")}
    assert earlier == {str(RUN / "tables/neurons_per_layer.json")}
