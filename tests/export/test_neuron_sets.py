"""Neuron sets: what they hold, who reads them, the hub that they go to, and what is refused."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from hub_server import TOKEN, Repository, hub, python  # noqa: F401
from once import made_once
from played_run import make_run
from stages import check_refusal

import lape as library
from lape.artifacts.files import read_json, sha256
from lape.cli import main
from lape.errors import LapeError
from lape.export.terms import terms_of
from lape.model.sites import Site, Sites
from lape.neurons.table import Neurons
from lape.playground.finished_run import FinishedRun
from lape.statistics.sums import ActivationStatistics


@pytest.fixture(scope="session")
def run(tmp_path_factory, finished_stages) -> Path:
    """A finished run of the tiny model with all that a set may hold; for reading only."""

    def make(folder: Path) -> None:
        run = make_run(finished_stages, folder)
        shutil.copytree(folder / "corpus", run / "corpus")
        (run / "contexts" / "tiny").mkdir(parents=True)
        shutil.copytree(folder / "contexts", run / "contexts/tiny/lape")
        words = ["--neurons", run / "neurons/tiny/lape.json", "--resamples", 2, "--output", run / "stability/tiny.json"]
        statistics = [run / f"statistics/tiny/{language}.json" for language in ("fr", "ja")]
        assert main(list(map(str, ["stability", "--statistics", *statistics, *words]))) == 0

    return made_once(tmp_path_factory, "set", make) / "results/tiny"


@pytest.fixture(scope="session")
def exported(tmp_path_factory, run) -> Path:
    """A set of the run, with contexts; for reading only."""

    def make(folder: Path) -> None:
        words = ["set", run, "--contexts", "--text-licence", "CC0", "--output", folder]
        assert main(["export", *map(str, words)]) == 0

    return made_once(tmp_path_factory, "neuron_set", make)


def check_equal(found: Neurons, wanted: Neurons) -> None:
    pd.testing.assert_frame_equal(found.table, wanted.table, check_exact=True)
    assert (found.sets, found.sites, found.description()) == (wanted.sets, wanted.sites, wanted.description())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("method", ["lape", "active_lape", "ap"])
def test_a_set_has_the_runs_neurons_and_values(run, exported, tmp_path, lape, method):
    wanted = Neurons.load(run / f"neurons/tiny/{method}.json")
    check_equal(library.load_neurons(exported, method), wanted)
    rows = datasets.load_dataset(str(exported), f"neurons_{method}", split="train").to_list()
    assert [{**row, "languages": tuple(row["languages"])} for row in rows] == wanted.table.to_dict("records")
    statistics = {code: ActivationStatistics.load(run / f"statistics/tiny/{code}.npz") for code in wanted}
    values = library.steering_values(wanted, statistics)  # the run has a file of LAPE's values alone
    pd.testing.assert_frame_equal(library.load_steering_values(exported, method).table, values.table, check_exact=True)
    imported = tmp_path / "imported.tsv"
    status, messages = lape("import", "set", exported, "--method", method, "--output", imported)
    assert status == 0, messages
    again = Neurons.load(imported)
    check_equal(again, wanted)
    assert again.summary["inputs"][str(exported / "lape.json")] == sha256(exported / "lape.json")


def test_every_configuration_has_a_table_and_the_card_names_it(run, exported):
    card = (exported / "README.md").read_text(encoding="utf-8")
    _, metadata, text = card.split("---\n", 2)
    configs = {config["config_name"]: config["data_files"] for config in yaml.safe_load(metadata)["configs"]}
    assert set(configs.values()) == {path.relative_to(exported).as_posix() for path in exported.rglob("*.parquet")}
    assert {"neurons_lape", "steering_ap", "contexts_lape", "expert_units", "frequency_lape"} <= configs.keys()
    tables = {name: datasets.load_dataset(str(exported), name, split="train") for name in configs}
    assert all(f"| {name} | {len(table)} | " in text for name, table in tables.items())
    [line] = map(json.loads, (run / "contexts/tiny/lape/fr.jsonl").read_text().splitlines()[:1])
    assert tables["contexts_lape"][0] == {"language": "fr", **line}
    assert tables["frequency_lape"].features["languages"] == datasets.List(datasets.Value("string"))
    header = read_json(run / "models/tiny/model.json")
    assert f"`{header['revision']}`" in text and "| fr | " in text and ": CC0." in text and '"ratio": 0.1' in text
    assert sha256(run / "neurons/tiny/ap.json") in text and str(run) not in card


def copied(run: Path, folder: Path, *parts: str) -> Path:
    """A run with some parts of another."""
    for part in ("config.json", "models/tiny/model.json", *parts):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / part, folder / part)
    return folder


def test_experts_and_languages_called_like_missing_values_come_back(run, tmp_path, lape):
    sites = Sites(2, (Site(0, "dense", 1, 8), Site(1, "experts", 2, 4), Site(1, "shared", 1, 4)))
    table = pd.DataFrame(sites.located(np.array([3, 9, 13, 18])))
    owners = [("no",), ("no", "nan"), ("nan",), ("no",)]
    table = table.assign(entropy=[0.1, 1 / 3, np.float64(2**-40), 0.7], languages=owners)
    folder = copied(run, tmp_path / "run")
    Neurons(table, ("no", "nan"), sites, {"threshold": 0.1 + 0.2}).save(folder / "neurons/tiny/lape.tsv")
    status, messages = lape("export", "set", folder, "--output", tmp_path / "set")
    assert status == 0, messages
    check_equal(library.load_neurons(tmp_path / "set"), Neurons.load(folder / "neurons/tiny/lape.tsv"))


PUSHED = ["push", "set", "org/neurons"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pushed_set_is_read_from_the_hub(hub, run, exported, tmp_path):  # noqa: F811
    repository = hub.repositories["datasets/org/neurons"] = Repository(tmp_path / "hub")
    (repository.folder / "data").mkdir(parents=True)
    (repository.folder / "data/neurons_lave.parquet").write_text("of an earlier set")
    shutil.copytree(exported, tmp_path / "set")
    (tmp_path / "set/notes.txt").write_text("of no one's concern")
    with open(tmp_path / "set/README.md", "a") as card:
        card.write("The card is its author's.")
    imported = ["import", "set", "org/neurons", "--method", "ap", "--revision", "main", "--output", "ap.tsv"]
    done = hub.lape(tmp_path, PUSHED, imported, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/datasets/org/neurons" in done.stderr
    assert files(repository.folder) == {name: it for name, it in files(tmp_path / "set").items() if name != "notes.txt"}
    check_equal(Neurons.load(tmp_path / "ap.tsv"), Neurons.load(run / "neurons/tiny/ap.tsv"))
    fetched = {path.rpartition("/")[2] for _, path, size in hub.requests if "/resolve/" in path and size}
    assert fetched == {"lape.json", "neurons_ap.parquet"}


def test_a_pushed_checkpoint_is_a_model(hub, run, tmp_path, lape):  # noqa: F811
    hub.uploads = tmp_path / "hub"
    words = ["--deactivate", "fr", "--compare", 0, "--output", tmp_path / "off"]
    assert lape("export", "checkpoint", run, *words)[0] == 0
    done = hub.lape(tmp_path, ["push", "off", "org/off", "--private"], HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["models/org/off"]
    assert repository.private and files(repository.folder) == files(tmp_path / "off")


@pytest.mark.parametrize(
    ("words", "token", "message"),
    [
        (PUSHED, "", "HF_TOKEN: is not set; set it to a token of the hub that may write"),
        (PUSHED, "hf_other", "org/neurons: cannot be pushed to the hub (HF_TOKEN is refused); set it to a token that"),
        (["push", "set", "neurons"], TOKEN, "'neurons' is no name of a repository; write owner/name"),
        (["push", ".", "org/neurons"], TOKEN, "lape.json: cannot be read"),
        (["import", "set", "org/none", "--output", "x.tsv"], "", "org/none: cannot be fetched from the hub (there is "),
        (["import", "set", "none", "--output", "x.tsv"], "", "none: is no folder, and no dataset of the hub; name an"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, exported, tmp_path, words, token, message):  # noqa: F811
    (tmp_path / "set").symlink_to(exported)
    done = hub.lape(tmp_path, words, patience=False, HF_TOKEN=token)
    assert message in check_refusal(done.returncode, done.stderr, words[0])
    assert not hub.repositories and "hf_other" not in done.stderr and not (tmp_path / "x.tsv").exists()


def test_texts_of_unknown_licence_stay_here(run, tmp_path, lape, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert lape("export", "set", run, "--contexts", "--output", tmp_path / "set")[0] == 0
    status, messages = lape("push", tmp_path / "set", "org/neurons")
    line = check_refusal(status, messages, "push", "data/contexts_lape.parquet", "an unknown licence")
    assert line.endswith("; export without --contexts, or state the licence by --text-licence")


def test_a_text_whose_terms_forbid_it_keeps_all_here(run, tmp_path, lape, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    # One language's text of two; nothing is known of the other.
    header = json.loads((folder / "corpus/ja.json").read_text())
    header |= {"source": "embedded", "parameters": {"settings": {"download": "wikilingua"}}}
    (folder / "corpus/ja.json").write_text(json.dumps(header))
    status, messages = lape("export", "set", folder, "--text-licence", "CC0", "--output", tmp_path / "set")
    check_refusal(status, messages, "export", "--text-licence: WikiLingua, from BIG-bench has one (CC BY-NC-SA 3.0")
    assert lape("export", "set", folder, "--contexts", "--output", tmp_path / "set")[0] == 0
    status, messages = lape("push", tmp_path / "set", "org/neurons")
    line = check_refusal(status, messages, "push", "data/contexts_lape.parquet", "never to be trained on")
    assert line.endswith("; export without --contexts")


def test_excerpts_of_wikipedia_are_free(run, tmp_path):
    folder = copied(run, tmp_path / "run", "corpus/fr.json")
    header = json.loads((folder / "corpus/fr.json").read_text())
    header |= {"source": "hub", "parameters": {"settings": {"path": "wikimedia/wikipedia"}}}
    (folder / "corpus/fr.json").write_text(json.dumps(header))
    terms = terms_of(FinishedRun(folder, {}))
    assert terms.shared and "CC BY-SA" in str(terms)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "."], "is there already; name a new folder"),
        (["--method", "lav"], "has no method 'lav' of tiny"),
        (["--method", "ap", "--contexts"], "has no contexts of ap; make them, or leave --contexts out"),
    ],
)
def test_bad_exports_are_refused(run, lape, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    status, messages = lape("export", "set", run, "--output", "new", *words)
    assert message in check_refusal(status, messages, "export") and not list(tmp_path.iterdir())


def damaged(folder: Path, name: str) -> None:
    """Cut a file, or put another table into it under its own hash."""
    if name.endswith(".json"):
        (folder / name).write_text("{}")
    elif name == "cut":
        file = folder / "data/neurons_lape.parquet"
        file.write_bytes(file.read_bytes()[:-9])
    else:
        shutil.copy(folder / "data/frequency_lape.parquet", folder / "data/neurons_lape.parquet")
        header = json.loads((folder / "lape.json").read_text())
        header["outputs"]["data/neurons_lape.parquet"] = header["outputs"]["data/frequency_lape.parquet"]
        if name == "strangers":
            header["methods"]["lape"]["sets"] = ["fr"]
        if name == "shape":
            header["methods"]["lape"]["layers"] = 1
        if name == "kind":
            header["methods"]["lape"]["sets"] = "fr"
        (folder / "lape.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("lape.json", "lape.json: is the header of no artifact, not of 'neuron_set'"),
        ("cut", "neurons_lape.parquet: is not the file that lape.json was written for; fetch or export the set again"),
        ("strangers", "neurons_lape.parquet: does not fit (names sets that"),
        ("shape", "neurons_lape.parquet: does not fit ("),
        ("kind", "lape.json: its sets is 'fr', not a list of names"),
    ],
)
def test_a_damaged_set_is_one_line(exported, tmp_path, fault, message):
    folder = tmp_path / "set"
    shutil.copytree(exported, folder)
    damaged(folder, fault)
    with pytest.raises(LapeError) as raised:
        library.load_neurons(folder)
    assert message in str(raised.value) and ";" in str(raised.value)


def test_a_method_that_the_set_lacks_is_named(exported):
    with pytest.raises(LapeError, match="has no 'neurons_lap'; did you mean 'neurons_lape'"):
        library.load_neurons(exported, "lap")
    with pytest.raises(LapeError, match="is a folder, which has no revision; leave v1 out"):
        library.load_neurons(exported, revision="v1")
