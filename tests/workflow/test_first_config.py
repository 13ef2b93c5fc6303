"""`lape init` writes a configuration that runs, and `lape run` runs it."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tiny_data import ROOT, make_text

from lape.commands.run import add_arguments
from lape.errors import LapeError
from lape.workflow import first_config
from lape.workflow.first_config import Text, budgets, found_text, named_model

CATALOGUE = ("gemma3-270m",)


@pytest.fixture
def folder(tiny_folder, tiny_texts, tmp_path, monkeypatch) -> Path:
    """A folder with a model and with texts in en, fr and ja; the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder, tmp_path / "my model")
    shutil.copytree(tiny_texts, tmp_path / "texts")
    return tmp_path


def written(path: Path = Path("my.yaml")) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.workflow
def test_a_written_configuration_is_planned_and_not_overwritten(folder, lape, programs):
    words = ("init", "--model", "my model", "--languages", "fr,ja", "--text", "texts")
    assert lape(*words) == (0, "")
    config = written()
    assert config["catalogue"] == {"my-model": {"source": "path", "path": "my model"}}
    assert config["corpus"]["files"] == {"pattern": "texts/{language}/*", "document": "file", "text_column": "text"}
    assert (config["run"], config["tokens"]["chunk_length"]) == ("my-model-fr-ja", 64)  # the model's context
    command = [programs / "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "my.yaml", "--dry-run"]
    planned = subprocess.run(command, capture_output=True, text=True)
    assert planned.returncode == 0 and "statistics" in planned.stdout, planned.stderr
    before = Path("my.yaml").read_bytes()
    status, message = lape(*words)
    assert status == 1 and "my.yaml: exists already, and is left as it is" in message
    assert Path("my.yaml").read_bytes() == before


@pytest.mark.workflow
def test_a_model_is_run_in_one_command(folder, programs, lape):
    """The run goes to its neurons, on budgets that the text meets; the same command goes on with it."""
    neurons = "results/my-model-fr-ja/neurons/my-model/lape.json"
    words = ("my model", "--languages", "fr,ja", "--text", "texts", "--cores", "2", "--", neurons)
    command = [programs / "python", "-m", "lape", "run", *words]  # Snakemake is found beside it
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.lstrip(" %0123456789") for line in done.stderr.splitlines()]
    assert lines[0] == "configuration: my-model-fr-ja.yaml" and lines[-1] == "open results/my-model-fr-ja"
    assert any(line.startswith("run my-model-fr-ja, ") for line in lines)
    assert any(" of run my-model-fr-ja: at least " in line for line in lines), done.stderr  # how long it takes
    found = json.loads(Path(neurons).read_text(encoding="utf-8"))
    budget = written(Path("my-model-fr-ja.yaml"))["tokens"]["train"]
    assert found["tokens"] == {"fr": budget, "ja": budget}
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and "Nothing to be done" in again.stderr
    Path("my-model-fr-ja.yaml").write_text("run: another\n")
    status, message = lape("run", *words)
    assert status == 1 and "my-model-fr-ja.yaml: exists already" in message


def test_what_follows_two_dashes_is_snakemakes(tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    found = parser.parse_args(["m", "--languages", "fr,de", "--", "--dry-run", "paper", "--cores", "3"])
    assert (found.model, found.languages, found.cores) == ("m", ["fr", "de"], "all")
    assert found.flags == ["--dry-run", "paper", "--cores", "3"]
    assert parser.parse_args(["m"]).flags == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "my.yaml"), "my.yaml: cannot be read (No such file or directory)"),
        (("run", "my.yaml", "--languages", "fr,ja"), "my.yaml: a configuration names languages and text itself"),
        (("run", "my model"), "--languages is missing; name two or more"),
        (("init", "--languages", "fr,ja"), "--model is missing, and there is no terminal to ask for it; name it"),
        (("init", "--model", "nowhere", "--languages", "fr,ja"), "nowhere: no such folder or GGUF file"),
        (
            ("init", "--model", "my model", "--languages", "fr,xx", "--text", "texts"),
            "has no text of xx; put one of these",
        ),
        (("init", "--model", "my model", "--languages", "fr,xx"), "the embedded text has no 'xx'"),
        (("init", "--model", "texts", "--languages", "fr,ja"), "texts: has no config.json"),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_written(folder, lape, monkeypatch, words, message):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    status, said = lape(*words)
    assert status == 1 and said.startswith(f"lape {words[0]}: ") and message in said and said.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["my model", "texts"]


def test_what_is_missing_is_asked_for_at_a_terminal(folder, lape, monkeypatch):
    answers = iter(["my model", "fr, ja", "texts"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert lape("init", "--output", "asked.yaml") == (0, "")
    assert lape("init", "--model", "my model", "--languages", "fr,ja", "--text", "texts") == (0, "")
    assert written(Path("asked.yaml")) == written()
    monkeypatch.setattr("builtins.input", lambda question: "fr,fr")
    status, message = lape("init", "--model", "my model", "--output", "other.yaml")
    assert (status, message) == (1, "lape init: languages: 'fr,fr': name two or more, each once, such as fr,de,sw\n")


def test_models_are_told_apart(folder, monkeypatch):
    Path("m.gguf").touch()
    assert named_model("m.gguf", CATALOGUE).entry == {"source": "gguf", "path": "m.gguf"}
    assert named_model("gemma3-270m", CATALOGUE).entry is None
    pinned = named_model("owner/My_Model.v1@abc", CATALOGUE)
    assert pinned.name == "My_Model.v1" and pinned.entry == {
        "source": "hub",
        "hub": "owner/My_Model.v1",
        "revision": "abc",
    }
    monkeypatch.setattr(first_config, "_newest", lambda repository: "0" * 40)
    assert named_model("owner/m", CATALOGUE).entry["revision"] == "0" * 40
    assert named_model("my model", CATALOGUE).context == 64
    for wrong in ("../owner", "owner/m/x", "gemma"):
        with pytest.raises(LapeError, match="no such folder or GGUF file"):
            named_model(wrong, CATALOGUE)


def test_text_is_found_in_every_form(folder):
    flat = folder / "flat"
    flat.mkdir()
    rows = [make_text("fr", 20, number) for number in range(30)]
    (flat / "fr.jsonl").write_text("".join(json.dumps({"id": 1, "body": row}) + "\n" for row in rows), encoding="utf-8")
    (flat / "ja.txt").write_text("\n".join(make_text("ja", 20, number) for number in range(25)), encoding="utf-8")
    found = found_text("flat", ("fr", "ja"), None, None)
    assert found.pattern == {"fr": "flat/{language}.jsonl", "ja": "flat/{language}.txt"}
    assert (found.document, found.column) == ("line", "body")  # the lines of one file are its documents
    assert {language: len(counts) for language, counts in found.tokens.items()} == {"fr": 30, "ja": 25}
    assert all(count == len(row.encode()) // 6 for count, row in zip(found.tokens["fr"].values(), rows, strict=True))
    counted = found_text("texts", ("fr", "ja"), None, folder / "my model" / "tokenizer.json")
    assert counted.pattern == "texts/{language}/*" and counted.document == "file"
    assert sum(counted.tokens["fr"].values()) > sum(found_text("texts", ("fr",), None, None).tokens["fr"].values())
    (flat / "ja.txt").write_text("\n")
    with pytest.raises(LapeError, match="--text flat: no text of ja can be read"):
        found_text("flat", ("fr", "ja"), None, None)
    (flat / "fr.jsonl").write_text('{"a": "x", "b": "y"}\n')
    with pytest.raises(LapeError, match=r"fr.jsonl: has the columns a, b; name the text's with --text-column"):
        found_text("flat", ("fr", "ja"), None, None)


def test_budgets_fit_the_scarcest_language():
    rich, poor = ({str(number): tokens for number in range(100)} for tokens in (10_000, 60))
    text = Text("x", "file", "text", {"fr": rich, "sw": poor})
    found = budgets(text, None)
    # 80 of the poor language's documents hold 4,800 tokens; 20 are for evaluation, and one chunk of each is taken.
    assert found == {"train": 4352, "chunk_length": 256, "valid": 1152, "valid_chunk_length": 96}
    assert budgets(Text("x", "file", "text", {"fr": rich}), None) == {
        **{"train": 24576, "chunk_length": 512},
        **{"valid": 1536, "valid_chunk_length": 96},
    }
    assert budgets(text, 40)["chunk_length"] == 32
    with pytest.raises(LapeError, match="text of sw: has 30 tokens in 3 documents, too few"):
        budgets(Text("x", "file", "text", {"sw": dict.fromkeys("abc", 10)}), None)
