"""Models and datasets of the hub, fetched and streamed over its protocol from a stand-in on the loopback interface."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, TOKEN, Repository, hub, python  # noqa: F401
from played_run import make_run
from stages import check_refusal
from tiny_data import make_model, make_text

from lape import cli
from lape.artifacts.files import read_json, sha256

OTHER = "89abcdef0123456789abcdef0123456789abcdef"
PAGES = 400  # in two files of ten row groups


def model_words(name: str = "org/tiny", revision: str = "main", output: str = "models/model.json") -> list[str]:
    words = ["--name", "tiny", "--hub", name, "--revision", revision, "--device", "cpu", "--dtype", "float32"]
    return ["model", "--log", f"{output}.log", *words, "--output", output]


def corpus_words(path: str = "org/wiki", revision: str | None = COMMIT, output: str = "corpus/fr.parquet", **more):
    settings = {"path": path, "config": "20231101.{language}", "revision": revision, "split": "train"}
    settings |= {"text_column": "text", "id_column": "id", "documents": 50, **more}
    words = ["--language", "fr", "--source", "hub", "--language-check", "off", "--settings", json.dumps(settings)]
    return ["corpus", "--log", f"{output}.log", *words, "--output", output]


@pytest.fixture
def model(hub, tmp_path):  # noqa: F811
    """A repository of a tiny model."""
    hub.repositories["models/org/tiny"] = Repository(make_model(tmp_path / "tiny"))
    return hub.repositories["models/org/tiny"]


@pytest.fixture
def wiki(hub, tmp_path):  # noqa: F811
    """A repository laid out as wikimedia/wikipedia, French and English; its folder."""
    folder, noise = tmp_path / "datasets" / "wiki", random.Random(0)
    configs = "configs:\n"
    for language in ("fr", "en"):
        name = f"20231101.{language}"
        (folder / name).mkdir(parents=True)
        configs += f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n"
        for part in range(2):
            ids = range(part * PAGES // 2, (part + 1) * PAGES // 2)
            # Long, and hardly compressible: to read it is to be noticed.
            texts = [f"{make_text(language, 20, n)} {noise.randbytes(10_000).hex()}" for n in ids]
            titles = [make_text(language, 6, 1000 + n) for n in ids]
            table = pa.table({"id": list(map(str, ids)), "title": titles, "text": texts})
            pq.write_table(table, folder / name / f"train-0000{part}-of-00002.parquet", row_group_size=20)
    (folder / "README.md").write_text(f"---\n{configs}---\n")
    hub.repositories["datasets/org/wiki"] = Repository(folder)
    return folder


def test_a_branch_that_moves_changes_no_pinned_model(hub, model, tmp_path):  # noqa: F811
    first = hub.lape(tmp_path, model_words(output="a/model.json"))
    assert first.returncode == 0, first.stderr
    model.folder, model.revisions = make_model(tmp_path / "moved", seed=1), {"main": OTHER}
    second = hub.lape(tmp_path, model_words(output="b/model.json"), model_words(revision=COMMIT, output="c/model.json"))
    assert second.returncode == 0, second.stderr
    a, b, c = (read_json(tmp_path / name / "model.json") for name in "abc")
    assert (a["revision"], b["revision"], c["revision"]) == (COMMIT, OTHER, COMMIT)
    assert a["hashes"] == c["hashes"] != b["hashes"]
    assert a["hashes"]["model.safetensors"] == sha256(tmp_path / "tiny" / "model.safetensors")


def test_a_model_of_the_hub_is_exported(hub, model, finished_stages, tmp_path):  # noqa: F811
    run = make_run(finished_stages, tmp_path / "run")
    made = hub.lape(tmp_path, model_words(revision=COMMIT, output=f"{run}/models/tiny/model.json"))
    assert made.returncode == 0, made.stderr
    neurons = run / "neurons/tiny/lape.json"
    neurons.write_text(json.dumps(read_json(neurons) | {"model_revision": COMMIT}))
    words = ["--deactivate", "fr", "--compare", "40", "--output", "export"]
    done = hub.lape(tmp_path, ["export", "checkpoint", str(run), *words])
    assert done.returncode == 0 and "no logit is further than 0 from" in done.stderr, done.stderr
    assert COMMIT in (tmp_path / "export/README.md").read_text()
    changed = sha256(tmp_path / "export/model.safetensors")
    assert changed != sha256(tmp_path / "tiny/model.safetensors")  # the hub's cache is another file, and stays


def test_every_kind_of_text_is_streamed_as_from_a_folder(hub, wiki, tmp_path, monkeypatch):  # noqa: F811
    alpaca = tmp_path / "datasets" / "alpaca"
    alpaca.mkdir()
    rows = [{"instruction": make_text("fr", 5, n), "input": "", "output": make_text("fr", 9, n)} for n in range(30)]
    (alpaca / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hub.repositories["datasets/org/alpaca"] = Repository(alpaca)

    def commands(folder: str, output: str, revision: str | None) -> list[list[str]]:
        place = {"path": f"{folder}/wiki", "config": "20231101.{language}", "revision": revision, "split": "train"}
        settings = {
            "instructions": {"path": f"{folder}/alpaca", "revision": revision},
            "sentences": {"datasets": [{**place, "text_columns": ["title"]}]},
            "pairs": {**place, "text_column": "title", "id_column": "id"},
        }
        more = {
            "instructions": ["--examples", "20"],
            "sentences": ["--number", "20", "--held-out", "5"],
            "pairs": ["--corpus", "news", "--source-language", "en", "--number", "10"],
        }
        texts = [
            [stage, "--language", "fr", "--source", "hub", "--settings", json.dumps(settings[stage])]
            for stage in settings
        ]
        texts = [[*words, *more[words[0]], "--output", f"{output}/{words[0]}.jsonl"] for words in texts]
        return [*texts, corpus_words(f"{folder}/wiki", revision, f"{output}/fr.parquet", newest=20)]

    done = hub.lape(tmp_path, *commands("org", "hub", COMMIT))
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    for words in commands(str(wiki.parent), "local", None):
        assert cli.main(words) == 0
    for name in ("instructions.jsonl", "sentences.jsonl", "pairs.jsonl", "fr.parquet"):
        assert (tmp_path / "hub" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    header = read_json(tmp_path / "hub" / "fr.json")
    assert header["parameters"]["settings"]["revision"] == COMMIT
    assert header["newest"] == {"documents": 20, "smallest_id": PAGES - 20} and header["documents"] == 70


def test_the_newest_pages_are_found_without_reading_the_text(hub, wiki, tmp_path):  # noqa: F811
    done = hub.lape(tmp_path, corpus_words(newest=5))
    assert done.returncode == 0, done.stderr
    last = "20231101.fr/train-00001-of-00002.parquet"
    size = (wiki / last).stat().st_size
    # One of its ten row groups, and of each other one its ids with a little beyond.
    assert size / 10 < hub.sent(last) < size / 10 + 10 * (1 << 15) + 3 * (1 << 16) < 0.4 * size


def test_what_is_gated_wants_a_token_that_is_written_nowhere(hub, model, wiki, tmp_path):  # noqa: F811
    model.gated = hub.repositories["datasets/org/wiki"].gated = True
    wrong = "hf_wrongwrongwrongwrongwrongwrongwrong"
    printed = ""
    for token in ({}, {"HF_TOKEN": wrong}):
        for words, name in ((model_words(), "org/tiny at main"), (corpus_words(), "dataset org/wiki (20231101.fr)")):
            done = hub.lape(tmp_path, words, **token)
            line = check_refusal(done.returncode, done.stderr, words[0], name, "it is gated", "HF_TOKEN")
            assert "accept its licence on its page on the hub" in line
            printed += done.stdout + done.stderr
    assert not (tmp_path / "models" / "model.json").exists() and not (tmp_path / "corpus" / "fr.parquet").exists()
    done = hub.lape(tmp_path, model_words(), corpus_words(), HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    printed += done.stdout + done.stderr
    assert hub.tokens == {None, f"Bearer {wrong}", f"Bearer {TOKEN}"}  # they were sent
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"models/model.json", "models/model.json.log", "corpus/fr.json", "corpus/fr.parquet.log"} < written.keys()
    for token in (wrong, TOKEN):
        assert token not in printed
        assert not [name for name, body in written.items() if token.encode() in body]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (model_words("org/none"), "there is none of this name, or it is private"),
        (model_words(revision="gone"), "it has no such revision"),
        (corpus_words("org/none"), "'org/none' doesn't exist on the Hub or cannot be accessed"),
        (corpus_words(revision="gone"), "Revision 'gone' doesn't exist for dataset 'org/wiki'"),
    ],
)
def test_what_is_not_there_is_refused_by_name(hub, model, wiki, tmp_path, words, reason):  # noqa: F811
    done = hub.lape(tmp_path, words)
    check_refusal(done.returncode, done.stderr, words[0], reason)


@pytest.mark.parametrize("newest", [None, 5])
def test_contents_that_break_off_are_fetched_again(hub, wiki, tmp_path, newest):  # noqa: F811
    hub.cut = {"00000-of-00002.parquet": 3}
    done = hub.lape(tmp_path, corpus_words(newest=newest, output="cut/fr.parquet"), patience=False)
    assert done.returncode == 0, done.stderr
    assert hub.cut == {"00000-of-00002.parquet": 0}
    local = corpus_words(str(wiki), None, str(tmp_path / "whole" / "fr.parquet"), newest=newest)
    assert cli.main(local) == 0
    assert (tmp_path / "cut" / "fr.parquet").read_bytes() == (tmp_path / "whole" / "fr.parquet").read_bytes()


@pytest.mark.parametrize("fault", ["stalled", "cut"])
@pytest.mark.parametrize(
    ("words", "file"),
    [
        (model_words(), "model.safetensors"),
        (corpus_words(documents=None), "00001-of-00002.parquet"),
        (corpus_words(newest=5), "00001-of-00002.parquet"),
    ],
)
def test_contents_that_never_come_end_the_command(hub, model, wiki, tmp_path, words, file, fault):  # noqa: F811
    if fault == "stalled":
        hub.stalled = {file}
    else:
        hub.cut = {file: 10_000}
    done = hub.lape(tmp_path, words, patience=False, HF_HUB_DOWNLOAD_TIMEOUT="1")
    check_refusal(done.returncode, done.stderr, words[0], "org/")
    assert not (tmp_path / words[-1]).exists()
