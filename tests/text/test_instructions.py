"""`lape instructions`: the project's own examples, the forms that are read, and what is refused."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from tiny_data import ROOT

from lape import cli
from lape.errors import LapeError
from lape.text.cleaning import detect_language
from lape.text.instructions import build_instructions, instructions
from lape.text.reading import Reading

OURS = ROOT / "config" / "instructions"
LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")

ROWS = [
    {"instruction": "Résume.", "input": "Il pleut depuis hier.", "output": "Il pleut.", "text": "unused"},
    {"instruction": "Salue.\n", "input": "", "output": " Bonjour « à tous »."},
    {"instruction": "Compte.", "input": None, "output": "Un, deux."},
]
EXAMPLES = [
    {"instruction": "Résume.", "input": "Il pleut depuis hier.", "output": "Il pleut."},
    {"instruction": "Salue.\n", "input": "", "output": " Bonjour « à tous »."},
    {"instruction": "Compte.", "input": "", "output": "Un, deux."},
]


def lines(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(path, reading=None, **settings):
    return list(instructions("fr", "files", {"pattern": str(path), **settings}, reading))


# The project's own


@pytest.mark.parametrize("language", LANGUAGES)
def test_own_examples(language):
    examples, english = (
        [json.loads(line) for line in (OURS / f"{code}.jsonl").read_text(encoding="utf-8").splitlines()]
        for code in (language, "en")
    )
    assert len(examples) == 48
    assert all(list(example) == ["instruction", "input", "output"] for example in examples)
    assert len({example["instruction"] for example in examples}) == 48
    assert len({example["output"] for example in examples}) == 48
    # Aligned by number: the same ones have an input.
    assert [bool(example["input"]) for example in examples] == [bool(example["input"]) for example in english]
    assert sum(bool(example["input"]) for example in examples) == 12
    assert {detect_language(example["output"]) for example in examples} == {language}
    assert {detect_language(example["input"]) for example in examples if len(example["input"]) > 100} <= {language}


# Files


@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz", "jsonl.zst", "json"])
def test_forms_of_files(tmp_path, extension):
    body = {
        "jsonl": lines(ROWS),
        "jsonl.gz": gzip.compress(lines(ROWS)),
        "jsonl.zst": zstandard.compress(lines(ROWS)),
        "json": b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
    }[extension]
    (tmp_path / f"fr.{extension}").write_bytes(body)
    reading = Reading()
    assert read(tmp_path / "{language}.*", reading) == EXAMPLES
    assert (reading.bad, reading.inputs) == (0, [tmp_path / f"fr.{extension}"])


def test_columns_of_other_names(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines([{"frage": "Wo?", "kontext": "Hier.", "output": "Dort."}]))
    columns = {"instruction": "frage", "input": "kontext"}
    expected = [{"instruction": "Wo?", "input": "Hier.", "output": "Dort."}]
    assert read(tmp_path / "x.jsonl", columns=columns) == expected


def test_conversations(tmp_path):
    def turns(*turns):
        return [{"from": speaker, "value": value} for speaker, value in turns]

    rows = [
        {"id": "0", "conversations": turns(("human", "Salue.\nMarie"), ("gpt", "Bonjour Marie."))},
        {"conversations": turns(("system", "x"), ("human", "a"), ("human", "b"), ("gpt", "c"), ("gpt", "d"))},
        {"conversations": turns(("gpt", "Oui ?"), ("human", "Rien."))},
        {"conversations": [{"role": "user", "content": "Salue."}]},
        {"conversations": "Salue."},
        {"conversations": turns(("human", "Salue."), ("gpt", ""))},
        {"conversations": None, **EXAMPLES[0]},
    ]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    reading = Reading()
    assert read(tmp_path / "x.json", reading) == [
        {"instruction": "Salue.\nMarie", "input": "", "output": "Bonjour Marie."},
        {"instruction": "b", "input": "", "output": "c"},
        EXAMPLES[0],
    ]
    assert reading.examples == [
        "x.json:3: no turn of human that gpt answers",
        "x.json:4: the conversation is not a list of turns with from and value",
        "x.json:5: the conversation is not a list of turns with from and value",
        "x.json:6: the output is empty",
    ]


def test_rows_that_are_no_example_are_counted(tmp_path):
    rows = [
        {**EXAMPLES[0], "output": " \n"},
        {**EXAMPLES[0], "instruction": ""},
        {**EXAMPLES[0], "output": 4},
        {**EXAMPLES[0], "input": ["x"]},
        {**EXAMPLES[0], "output": None},
        {"instruction": "Salue.", "input": "", "answer": "Bonjour."},
        [1],
    ]
    bad = lines(rows) + b'{"instruction": "a", "output": "\\ud83d"}\n{half\n'
    (tmp_path / "x.jsonl").write_bytes(bad + lines([{"instruction": "Salue.", "output": "Bonjour."}]))
    reading = Reading()
    assert read(tmp_path / "x.jsonl", reading) == [{"instruction": "Salue.", "input": "", "output": "Bonjour."}]
    assert reading.bad == 9
    assert [example.split(" (")[0] for example in reading.examples] == [
        "x.jsonl:1: the output is empty",
        "x.jsonl:2: the instruction is empty",
        "x.jsonl:3: the output is int, not a string",
        "x.jsonl:4: the input is list, not a string",
        "x.jsonl:5: the output is NoneType, not a string",
        "x.jsonl:6: no column 'output', but instruction, input, answer",
        "x.jsonl:7: not a JSON object",
        "x.jsonl:8: the output holds half a surrogate pair, which is no character",
        "x.jsonl:9: not JSON",
    ]


@pytest.mark.parametrize(
    ("name", "body", "match"),
    [
        ("x.json", b'{"instruction": "a"}', r"x\.json: is not a list of rows; call it \.jsonl"),
        ("x.json", b'[{"instruction":', r"x\.json: is not JSON in UTF-8 .*; mend it, or name files without it"),
        ("x.json", b'["caf\xe9"]', r"x\.json: is not JSON in UTF-8 .*; mend it, or name files without it"),
        ("x.csv", b"a,b", r"x\.csv: unknown extension; .*\.json"),
        (
            "x.jsonl.gz",
            gzip.compress(lines(ROWS * 500))[:200],
            r"x\.jsonl\.gz: cannot be read .*; mend it, or name files without it",
        ),
        (
            "x.jsonl.zst",
            zstandard.compress(lines(ROWS))[:60],
            r"x\.jsonl\.zst: cannot be read .*; mend it, or name files without it",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, body, match):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(LapeError, match=match) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_wrong_settings(tmp_path):
    with pytest.raises(LapeError, match=r"source files: .*'colour'.*; correct the settings"):
        read(tmp_path, colour=1)
    with pytest.raises(LapeError, match=r"columns: unknown key 'answer'; name instruction, input"):
        read(tmp_path, columns={"answer": "x"})
    with pytest.raises(LapeError, match=r"source hub: .*'revision'"):
        instructions("fr", "hub", {"path": "tatsu-lab/alpaca"})
    with pytest.raises(LapeError, match=r"fr\.jsonl: no file matches"):
        read(tmp_path / "{language}.jsonl")
    with pytest.raises(LapeError, match=r"no glob for 'fr', only for de"):
        list(instructions("fr", "files", {"pattern": {"de": "x"}}))


# The hub


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A folder in the form of MultilingualSIFT's datasets: one JSON list of conversations."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "dataset").mkdir()
    conversations = [
        [{"from": "human", "value": f"Question {n}"}, {"from": "gpt", "value": f"Réponse {n}" if n != 1 else ""}]
        for n in range(200)
    ]
    rows = [{"id": str(n), "conversations": turns} for n, turns in enumerate(conversations)]
    (tmp_path / "dataset" / "alpaca-fr.json").write_text(json.dumps(rows))
    return tmp_path / "dataset"


def test_hub_conversations(dataset):
    reading = Reading()
    found = list(instructions("fr", "hub", {"path": str(dataset), "revision": None}, reading))
    assert found == [
        {"instruction": f"Question {n}", "input": "", "output": f"Réponse {n}"} for n in range(200) if n != 1
    ]
    assert reading.examples == ["row 1: the output is empty"]


def test_hub_columns(dataset):
    (dataset / "alpaca-fr.json").unlink()
    (dataset / "train.jsonl").write_bytes(lines(ROWS[:2]))
    settings = {"path": str(dataset), "revision": None, "columns": {"input": "text"}}
    assert [example["input"] for example in instructions("fr", "hub", settings)] == ["unused", ""]
    with pytest.raises(LapeError, match=r"dataset .*: cannot be read .*valid.*; check its name"):
        list(instructions("fr", "hub", {**settings, "split": "valid"}))


def test_command_leaves_a_stream_cleanly(dataset, tmp_path):
    command = [sys.executable, "-m", "lape", "instructions", "--language", "fr", "--source", "hub", "--examples", "3"]
    command += ["--settings", json.dumps({"path": str(dataset), "revision": None})]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "fr.jsonl")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in (tmp_path / "fr.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [example["output"] for example in written] == ["Réponse 0", "Réponse 2", "Réponse 3"]


# The artifact


def test_artifact(tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path("in.jsonl").write_bytes(lines([*ROWS, {"instruction": "a"}]))
        settings = json.dumps({"pattern": "in.jsonl"})
        arguments = ["instructions", "--language", "fr", "--source", "files", "--settings", settings]
        assert cli.main([*arguments, "--examples", "9", "--output", "instructions/fr.jsonl"]) == 0
    for file in ("fr.jsonl", "fr.json"):
        assert Path("instructions", file).read_bytes() == (tmp_path / "one" / "instructions" / file).read_bytes()
    assert Path("instructions/fr.jsonl").read_bytes() == lines(EXAMPLES)
    header = json.loads(Path("instructions/fr.json").read_text(encoding="utf-8"))
    assert (header["artifact"], header["language"], header["source"]) == ("instructions", "fr", "files")
    assert (header["examples"], header["with_input"]) == (3, 1)
    assert header["bad_rows"] == {"count": 1, "examples": ["in.jsonl:4: no column 'output', but instruction"]}
    assert header["parameters"] == {"settings": {"pattern": "in.jsonl"}, "examples": 9}
    assert (list(header["inputs"]), list(header["outputs"])) == (["in.jsonl"], ["fr.jsonl"])
    messages = capsys.readouterr().err
    assert "instructions fr: 9 were wanted, 3 is all there is" in messages
    assert "instructions fr: 1 bad rows, the first: in.jsonl:4" in messages


def test_the_first_examples(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(ROWS))
    settings = {"pattern": str(tmp_path / "in.jsonl")}
    build_instructions("fr", "files", settings, tmp_path / "fr.jsonl", examples=2)
    assert (tmp_path / "fr.jsonl").read_bytes() == lines(EXAMPLES[:2])
    with pytest.raises(LapeError, match="examples: 0 is none; ask for 1 or more"):
        build_instructions("fr", "files", settings, tmp_path / "fr.jsonl", examples=0)


def test_no_example_is_an_error_and_leaves_nothing(tmp_path, lape):
    (tmp_path / "in.jsonl").write_bytes(lines([{"text": "Bonjour."}]))
    settings = json.dumps({"pattern": str(tmp_path / "in.jsonl")})
    words = ["instructions", "--language", "fr", "--source", "files", "--settings", settings]
    status, messages = lape(*words, "--output", tmp_path / "out" / "fr.jsonl")
    assert status == 1
    assert "instructions fr: no example is left (bad rows: 1, the first is in.jsonl:1: no column" in messages
    assert messages.strip().endswith("; check the source and its settings")
    assert list((tmp_path / "out").iterdir()) == []
