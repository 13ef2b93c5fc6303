"""`lape audit` names what happens to files: flipped bytes, losses, leftovers, swaps, other revisions, hand edits."""

import json
import random
import shlex
import shutil
from pathlib import Path

import pytest
from tampering import DIFFERS, MANIFEST, RUN, flip, listed, rebuild_manifest, reseal, rewrite
from tiny_data import make_model

from lape.artifacts.files import read_json, sha256, write_json
from lape.artifacts.manifest import sealed
from lape.cli import main

pytestmark = pytest.mark.workflow


def test_every_file_of_the_run_is_listed(tampered):
    # The list of hashes stands for what is listed; the pages show it.
    unlisted = {"manifest.json", "tokens/tiny/valid.sha256", "index.html", "summary.rst"}
    assert set(listed(MANIFEST)) == {str(RUN / name) for name in tampered.artifacts() if name not in unlisted}


def test_a_flipped_byte_of_any_file_is_named_and_nothing_else(tampered, faults):
    draw, names = random.Random(0), listed(MANIFEST)
    order = draw.sample(names, len(names))
    for group in (order[first : first + 5] for first in range(0, len(order), 5)):
        contents = {name: flip(Path(name), draw) for name in group}
        assert sorted(faults()) == sorted((name, DIFFERS) for name in group)
        for name, content in contents.items():
            Path(name).write_bytes(content)
    assert len(names) > 80 and faults() == []


def test_a_flipped_byte_of_what_came_from_outside_is_named(tampered, faults):
    draw, own = random.Random(1), {str(MANIFEST), *listed(MANIFEST)}
    outside = {name for entry in read_json(MANIFEST)["artifacts"].values() for name in entry["inputs"]} - own
    assert {"model/model.safetensors", "texts/ja/03.txt"} <= outside
    for name in sorted(outside)[::5]:
        content = flip(Path(name), draw)
        ((path, fault),) = faults()
        assert fault == f"was made from another {name}; run the workflow again"
        assert path == str(RUN / ("models/tiny/model.json" if name.startswith("model") else f"corpus/{name[6:8]}.json"))
        Path(name).write_bytes(content)


def test_a_flipped_byte_of_the_manifest_is_named(tampered, lape):
    draw = random.Random(2)
    for _ in range(20):
        content = flip(MANIFEST, draw)
        status, messages = lape("audit", MANIFEST)
        assert status == 1 and "Traceback" not in messages and str(MANIFEST) in messages.splitlines()[-1]
        MANIFEST.write_bytes(content)


def test_a_truncated_or_missing_file_is_named(tampered, faults):
    contents = {name: Path(name).read_bytes() for name in listed(MANIFEST)[::8]}
    for share in (2, len(max(contents.values(), key=len)) + 1):  # half of a file, and nothing of it
        for name, content in contents.items():
            Path(name).write_bytes(content[: len(content) // share])
        assert sorted(faults()) == sorted((name, DIFFERS) for name in contents)
    for name in contents:
        Path(name).unlink()
    assert sorted(faults()) == sorted((name, "is missing or cannot be read") for name in contents)


def test_a_shard_that_is_left_over_is_named(tampered, faults):
    extra = RUN / "statistics/tiny/fr.shards/4.npz"
    shutil.copy(extra.with_name("3.npz"), extra)
    assert faults() == [(str(extra), f"is left over: it is no part of {RUN / 'statistics/tiny/fr.json'}")]


# Artifacts swapped between languages. {} stands for the language; the parts of each, its header last.
SWAPS = {
    "corpus": ["corpus/{}.parquet", "corpus/{}.json"],
    "train": [
        "tokens/tiny/{}/train.npy",
        "tokens/tiny/{}/train.bytes.npy",
        "tokens/tiny/{}/train.documents.npy",
        "tokens/tiny/{}/train.json",
    ],
    "valid": [
        "tokens/tiny/{}/valid.npy",
        "tokens/tiny/{}/valid.bytes.npy",
        "tokens/tiny/{}/valid.documents.npy",
        "tokens/tiny/{}/valid.json",
    ],
    "statistics": ["statistics/tiny/{}.npz", "statistics/tiny/{}.shards", "statistics/tiny/{}.json"],
    "row": ["perplexity/tiny/lape/{}.tsv", "perplexity/tiny/lape/{}.json"],
    "control": ["perplexity/tiny/active_lape/{}.tsv", "perplexity/tiny/active_lape/{}.json"],
}


def swap(names: list[str]) -> list[str]:
    """Exchange French and Japanese files or folders; returns the headers, French first."""
    for name in names:
        here, there = (RUN / name.format(language) for language in ("fr", "ja"))
        here.rename(here.with_name("x"))
        there.rename(here)
        here.with_name("x").rename(there)
    header = names[-1].split(".")[0] + ".json"
    return [str(RUN / header.format(language)) for language in ("fr", "ja")]


@pytest.mark.parametrize("kind", SWAPS)
def test_swapped_languages_are_named_and_nothing_else(tampered, faults, kind):
    swap(SWAPS[kind])
    files = {str(RUN / name.format(language)) for name in SWAPS[kind] for language in ("fr", "ja")}
    files = {name for name in files if Path(name).is_file()}
    named = {path for path, _ in faults()}
    assert files <= named and all(any(path.startswith(each.rpartition(".")[0]) for each in files) for path in named)


@pytest.mark.parametrize("kind", SWAPS)
def test_swapped_languages_under_a_new_manifest_are_named(tampered, faults, kind):
    swap(SWAPS[kind])
    reseal()
    found = faults()
    for language, other in (("fr", "ja"), ("ja", "fr")):
        header = str(RUN / SWAPS[kind][-1].format(language))
        key = "deactivated" if kind in ("row", "control") else "language"
        assert (header, f"is of the {key} {other!r}, by its own header") in found


@pytest.mark.parametrize("kind", SWAPS)
def test_swapped_data_under_right_hashes_are_named(tampered, faults, kind):
    """The headers stay, so that only the data can tell."""
    headers = swap(SWAPS[kind][:-1])
    for header in headers if kind == "statistics" else ():  # shards are named by their language's folder either way
        assert all(Path(header).parent.joinpath(shard["file"]).is_file() for shard in read_json(header)["shards"])
    reseal()
    assert set(headers) <= {path for path, _ in faults()}


@pytest.mark.parametrize("kind", SWAPS)
def test_swapped_languages_under_forged_headers_are_named(tampered, faults, kind):
    """The headers follow the swap: hashes, language and names of files."""
    headers = swap(SWAPS[kind])
    for path, language, other in zip(headers, ("fr", "ja"), ("ja", "fr"), strict=True):
        header = read_json(path)
        key = "deactivated" if kind in ("row", "control") else "language"
        assert header[key] == other
        outputs = {name.replace(f"{other}.", f"{language}."): digest for name, digest in header["outputs"].items()}
        rewrite(Path(path), **{key: language, "outputs": outputs})
        if kind == "statistics":
            shards = [shard | {"file": shard["file"].replace(other, language)} for shard in header["shards"]]
            rewrite(Path(path), shards=shards)
    reseal()
    assert set(headers) <= {path for path, _ in faults()}


def test_statistics_of_another_revision_are_named(tampered, faults):
    """What was counted on a replaced checkpoint lies among artifacts of the model that stands."""
    folders = {"model": "kept", RUN / "models/tiny": "kept artifact"}
    for folder, copy in folders.items():
        shutil.copytree(folder, copy)
    make_model(Path("model"), seed=2)
    for header in ("models/tiny/model.json", "statistics/tiny/fr.json"):
        assert main(shlex.split(read_json(RUN / header)["command"])[1:]) == 0
    for folder, copy in folders.items():
        shutil.rmtree(folder)
        shutil.move(copy, folder)
    path, model = str(RUN / "statistics/tiny/fr.json"), RUN / "models/tiny/model.json"
    rebuild_manifest()
    assert (path, f"was made from another {model}; run the workflow again") in faults()
    reseal()  # the header now claims the new model's file
    assert (path, f"is of another revision of the model tiny than {model}; run the workflow again") in faults()
    rewrite(Path(path), model_revision=read_json(model)["revision"])
    reseal()
    assert [fault for name, fault in faults() if name == path and "with another model, by its own mark" in fault]


# A manifest edited by hand, and sealed again by who knows how.


def edit_manifest(change, seal: bool) -> None:
    """Change the manifest's content."""
    manifest = read_json(MANIFEST)
    change(manifest)
    write_json(MANIFEST, sealed(manifest) if seal else manifest)


FR = str(RUN / "statistics/tiny/fr.json")
FIGURE = str(RUN / "figures/neurons_per_layer.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["artifacts"][FR].update(seconds=1.0),
        lambda manifest: manifest["artifacts"][FR]["parameters"].update(threads=2),
        lambda manifest: manifest["artifacts"].pop(FIGURE),
        lambda manifest: manifest["versions"].update(torch="1.0"),
        lambda manifest: manifest["files"].pop(str(RUN / "report.html")),
        lambda manifest: manifest.update(sha256="0" * 64),
        lambda manifest: manifest.pop("sha256"),
    ],
)
def test_a_manifest_that_was_edited_is_named(tampered, faults, change):
    edit_manifest(change, seal=False)
    assert (str(MANIFEST), "is not what the workflow wrote: its seal does not hold") in faults()


def test_a_manifest_that_was_written_anew_by_another_program_is_named(tampered, faults):
    MANIFEST.write_text(json.dumps(read_json(MANIFEST)))
    assert faults() == [(str(MANIFEST), "is not what the workflow wrote: its seal does not hold")]


@pytest.mark.parametrize(
    ("change", "path", "fault"),
    [
        (
            lambda manifest: manifest["artifacts"][FR]["parameters"].update(threads=2),
            FR,
            "has another entry for parameters than the manifest",
        ),
        (
            lambda manifest: manifest["config"].update(languages=["fr"]),
            str(RUN / "config.json"),
            "another configuration",
        ),
        (
            lambda manifest: manifest["artifacts"].pop(FR),
            str(RUN / "neurons/tiny/lape.json"),
            f"was made from {FR}, which the manifest does not list",
        ),
    ],
)
def test_an_edit_under_a_forged_seal_is_named(tampered, faults, change, path, fault):
    edit_manifest(change, seal=True)
    assert [found for name, found in faults() if name == path and fault in found]


def test_a_forged_file_under_a_forged_seal_is_named(tampered, faults):
    table = RUN / "neurons/tiny/lape.tsv"
    table.write_text(table.read_text() + "\n")
    header = str(table.with_suffix(".json"))
    edit_manifest(
        lambda manifest: manifest["artifacts"][header]["files"].update({str(table): sha256(table)}), seal=True
    )
    assert (header, "names other data files or hashes than the manifest") in faults()
    rewrite(Path(header), outputs={table.name: sha256(table)})  # and its header is forged, too
    edit_manifest(lambda manifest: manifest["artifacts"][header].update(sha256=sha256(header)), seal=True)
    downstream = str(RUN / "neurons/tiny/active_lape.json")
    assert (downstream, f"was made from another {header}; run the workflow again") in faults()
