"""`lape questions`: the project's own questions, the forms that are read, what is refused, and alignment."""

import gzip
import json
import re
from pathlib import Path

import pytest
from tiny_data import ROOT

from lape.artifacts.files import read_json, write_header
from lape.artifacts.manifest import build_manifest
from lape.audit.run import audit
from lape.errors import LapeError
from lape.text.cleaning import detect_language
from lape.text.questions import aligned, build_questions, load_questions, read_hub, read_questions
from lape.text.reading import Reading

OURS = ROOT / "config" / "questions"
ROWS = [
    {"number": 3, "question": " Où vas-tu ?\n", "topic": "unused"},
    {"number": 1, "question": "Raconte\nune histoire."},
    {"number": 44, "question": "Que vois-tu ?"},
]
QUESTIONS = {1: "Raconte\nune histoire.", 3: "Où vas-tu ?", 44: "Que vois-tu ?"}


def lines(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read(path, **settings):
    return read_questions("fr", Reading(), pattern=str(path), **settings)


def refusal(path, **settings) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(LapeError) as caught:
        read(path, **settings)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    return str(caught.value)


# The project's own


@pytest.mark.parametrize("language", ["en", "zh", "fr", "es", "vi", "id", "ja", "de"])
def test_own_questions(language):
    ours, english = (
        read_questions(code, Reading(), pattern=str(OURS / "{language}.jsonl")) for code in (language, "en")
    )
    assert len(ours) >= 20
    assert list(ours) == list(english) == list(range(1, len(english) + 1))
    assert len(set(ours.values())) == len(ours)
    assert detect_language("\n".join(ours.values())) == language


# Files


@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz"])
def test_json_lines(tmp_path, extension):
    body = b"\xef\xbb\xbf" + lines(ROWS)
    (tmp_path / f"fr.{extension}").write_bytes(gzip.compress(body) if extension == "jsonl.gz" else body)
    reading = Reading()
    found = read_questions("fr", reading, pattern=str(tmp_path / "{language}.*"))
    assert list(found.items()) == list(QUESTIONS.items())
    assert reading.inputs == [tmp_path / f"fr.{extension}"]


def test_json_lines_without_numbers(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(lines([{"question": "Qui ?"}, {"question": "Où ?"}]))
    assert read(tmp_path / "x.jsonl") == {1: "Qui ?", 2: "Où ?"}
    # One without a number among others with one.
    (tmp_path / "x.jsonl").write_bytes(lines([{"question": "Qui ?"}, {"number": 7, "question": "Où ?"}]))
    assert "x.jsonl:1: the number is NoneType, not an integer" in refusal(tmp_path / "x.jsonl")


def test_conversations_of_other_columns(tmp_path):
    rows = [{"question_id": 81, "turns": ["Qui ?", "Et puis ?"]}, {"question_id": 82, "turns": "Où ?"}]
    (tmp_path / "x.jsonl").write_bytes(lines(rows))
    assert read(tmp_path / "x.jsonl", columns={"number": "question_id", "question": "turns"}) == {
        81: "Qui ?",
        82: "Où ?",
    }
    assert read(tmp_path / "x.jsonl", columns={"question": "turns"}) == {1: "Qui ?", 2: "Où ?"}
    assert "x.jsonl:1: no column 'question', but question_id, turns" in refusal(tmp_path / "x.jsonl")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text(tmp_path, end):
    # A line separator of Unicode is part of a question, as it is for `wc -l`.
    text = end.join(["\ufeffOù vas-tu ?", " Que vois\u2028tu ? ", "Qui ?"])
    for name, body in (("with", text + end), ("without", text)):
        (tmp_path / f"{name}.txt").write_bytes(body.encode())
        assert read(tmp_path / f"{name}.txt") == {1: "Où vas-tu ?", 2: "Que vois\u2028tu ?", 3: "Qui ?"}


def test_numbers_that_are_skipped_keep_the_others(tmp_path):
    (tmp_path / "x.txt").write_bytes("Où ?\n\nQui ?\n".encode())
    assert read(tmp_path / "x.txt", skip=[2, 99]) == {1: "Où ?", 3: "Qui ?"}
    (tmp_path / "x.jsonl").write_bytes(lines(ROWS + ROWS[2:]))
    assert read(tmp_path / "x.jsonl", skip=[44]) == {1: "Raconte\nune histoire.", 3: "Où vas-tu ?"}


@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [
        ("x.txt", b"Qui ?\n\nQuoi ?\n", "x.txt:2: the text is empty"),
        ("x.txt", b"", "x.txt:1: the text is empty"),
        ("x.txt", b"caf\xe9", "x.txt: not UTF-8 (unexpected end of data at byte 3)"),
        ("x.jsonl", lines(ROWS + ROWS[:1]), "x.jsonl:4: number 3 is at {folder}/x.jsonl:1 already"),
        ("x.jsonl", lines([{"number": 1, "question": " \n"}]), "x.jsonl:1: the text is empty"),
        ("x.jsonl", lines([{"number": 1, "question": ["", "Qui ?"]}]), "x.jsonl:1: the text is empty"),
        ("x.jsonl", lines([{"number": 1, "question": []}]), "x.jsonl:1: the text is list, not a string"),
        ("x.jsonl", lines([{"number": 1, "question": None}]), "x.jsonl:1: the text is NoneType, not a string"),
        ("x.jsonl", lines([{"number": "1", "question": "Qui ?"}]), "x.jsonl:1: the number is str, not an integer"),
        ("x.jsonl", lines([{"number": True, "question": "Qui ?"}]), "x.jsonl:1: the number is bool, not an integer"),
        ("x.jsonl", b'{"number": 1, "question": "\\ud83d"}\n', "x.jsonl:1: it holds half a surrogate pair"),
        ("x.jsonl", lines(ROWS) + b"caf\xe9\n", "x.jsonl:4: not UTF-8"),
        ("x.jsonl", lines(ROWS) + b"{half\n", "x.jsonl:4: not JSON"),
        ("x.jsonl", lines(ROWS)[:-9], "x.jsonl:3: not JSON"),
        ("x.csv", b"Qui ?", "x.csv: unknown extension; texts are read from .txt, .jsonl"),
        ("x.jsonl.gz", gzip.compress(lines(ROWS * 500))[:200], "x.jsonl.gz: cannot be read"),
    ],
)
def test_files_that_are_refused(tmp_path, name, body, fault):
    (tmp_path / name).write_bytes(body)
    assert fault.format(folder=tmp_path) in refusal(tmp_path / name)


def test_every_bad_row_is_counted_and_the_first_named(tmp_path):
    (tmp_path / "x.txt").write_bytes("Où ?\n\n \n".encode())
    assert refusal(tmp_path / "x.txt") == (
        f"questions fr: 2 bad rows, the first is {tmp_path}/x.txt:2: the text is empty; mend the file, or leave the "
        "number out of all languages by `skip`"
    )


def test_files_that_number_their_lines_alike_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"Question {name} ?\n")
    assert f"b.txt:1: number 1 is at {tmp_path}/a.txt:1 already" in refusal(tmp_path / "*.txt")
    assert "no file matches" in refusal(tmp_path / "{language}.txt")


def test_wrong_settings(tmp_path):
    (tmp_path / "x.txt").write_text("Qui ?\n")
    assert "columns: unknown key 'answer'; name number, question" in refusal(
        tmp_path / "x.txt", columns={"answer": "x"}
    )
    for skip in (44, "44", ["44"], [True], [4.5]):
        assert f"skip: {skip!r} is no list of numbers; " in refusal(tmp_path / "x.txt", skip=skip)
    for settings in ({"pattern": "x.txt", "colour": 1}, {"skip": []}):
        with pytest.raises(LapeError, match=r"settings of questions: .*('colour'|'pattern').*; correct the settings"):
            build_questions("fr", settings, tmp_path / "fr.jsonl")


# Datasets of the hub


@pytest.fixture
def hub(tmp_path, monkeypatch) -> dict:
    """One table of two languages as the hub has it, and a CSV file of one language."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows = [{"id": n, "code": code, "q": f" {code} {n} ?\n"} for n in (7, 3) for code in ("fra", "eng")]
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.jsonl").write_bytes(lines(rows))
    (tmp_path / "fra.csv").write_text('q,source\n"Où\nvas-tu, toi ?",x\nQui ?,y\n')
    return {"path": str(tmp_path / "table"), "split": "train", "columns": {"question": "q"}, "names": {"fr": "fra"}}


def test_a_table_of_all_languages_and_a_file_of_each(hub, tmp_path):
    table = {**hub, "language_column": "code"}
    assert read_hub("fr", Reading(), **table) == {1: "fra 7 ?", 2: "fra 3 ?"}
    numbered = {**table, "columns": {"question": "q", "number": "id"}}
    assert read_hub("fr", Reading(), **numbered, skip=[4]) == {3: "fra 3 ?", 7: "fra 7 ?"}
    csv = {**hub, "path": "csv", "data_files": str(tmp_path / "{language}.csv")}
    assert read_hub("fr", Reading(), **csv) == {1: "Où\nvas-tu, toi ?", 2: "Qui ?"}
    build_questions("fr", csv, tmp_path / "q" / "fr.jsonl", number=1)
    assert load_questions(tmp_path / "q" / "fr.json") == {1: "Où\nvas-tu, toi ?"}
    header = read_json(tmp_path / "q" / "fr.json", "questions")
    assert (header["inputs"], header["parameters"]["settings"]) == ({}, csv)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"columns": {"question": "body"}}, "has no column 'body', but id, code, q"),
        ({"columns": {"question": "q", "number": "code"}}, "row 0: the number is str, not an integer"),
        ({"columns": {"question": "q", "number": "id"}}, "row 1: number 7 is at "),
        ({"names": {"en": "eng"}}, "names: has no name of 'fr', only of en"),
        ({"path": "csv", "data_files": {"en": "eng.csv"}}, "dataset csv: data_files has no address of 'fr'; add one"),
        ({"path": "csv", "data_files": "none/{language}.csv"}, "dataset csv (none/fra.csv): cannot be read ("),
        ({"split": "test"}, "cannot be read ("),
        ({"colour": 1}, "settings of questions: got an unexpected keyword argument 'colour'; correct the settings"),
    ],
)
def test_datasets_that_are_refused(hub, tmp_path, change, fault):
    with pytest.raises(LapeError, match=re.escape(fault)) as caught:
        build_questions("fr", hub | change, tmp_path / "q" / "fr.jsonl")
    assert "\n" not in str(caught.value) and not (tmp_path / "q").exists()


# The artifact


def make(folder: Path, language: str, rows, **options) -> Path:
    """A questions artifact; returns its header's path."""
    (folder / f"{language}.in.jsonl").write_bytes(lines(rows))
    build_questions(language, {"pattern": str(folder / "{language}.in.jsonl")}, folder / f"{language}.jsonl", **options)
    return folder / f"{language}.json"


def test_command(tmp_path, monkeypatch, lape):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("fr.in.jsonl").write_bytes(lines(ROWS))
        settings = {"pattern": "{language}.in.jsonl", "columns": {"number": "number"}, "skip": [3]}
        words = ["questions", "--language", "fr", "--settings", json.dumps(settings), "--number", "2"]
        status, messages = lape(*words, "--output", "questions/fr.jsonl")
        assert (status, messages) == (0, "questions fr: 2\n")
    for file in ("fr.jsonl", "fr.json"):
        assert Path("questions", file).read_bytes() == (tmp_path / "one" / "questions" / file).read_bytes()
    expected = [{"number": number, "question": QUESTIONS[number]} for number in (1, 44)]
    assert Path("questions/fr.jsonl").read_bytes() == lines(expected)
    header = read_json("questions/fr.json", "questions")
    assert (header["language"], header["questions"], header["numbers"]) == ("fr", 2, [1, 44])
    assert header["parameters"] == {"settings": settings, "number": 2}
    assert (list(header["inputs"]), list(header["outputs"])) == (["fr.in.jsonl"], ["fr.jsonl"])


def test_the_first_numbers(tmp_path):
    header = make(tmp_path, "fr", ROWS, number=2)
    assert list(load_questions(header).items()) == list(QUESTIONS.items())[:2]
    assert load_questions(make(tmp_path, "fr", ROWS)) == QUESTIONS


@pytest.mark.parametrize(
    ("rows", "number", "fault"),
    [
        (ROWS, 4, "questions fr: 4 are wanted, 3 is all there is; add questions"),
        ([], None, "questions fr: 1 are wanted, 0 is all there is; add questions"),
        (ROWS, 0, "number: 0 is none; ask for 1 or more"),
    ],
)
def test_too_few_questions_are_refused_and_nothing_is_left(tmp_path, rows, number, fault):
    with pytest.raises(LapeError, match=re.escape(fault)):
        make(tmp_path, "fr", rows, number=number)
    assert [path.name for path in tmp_path.iterdir()] == ["fr.in.jsonl"]


def test_questions_of_another_header_are_refused(tmp_path):
    header = make(tmp_path, "fr", ROWS)
    header.with_suffix(".jsonl").write_bytes(lines(ROWS[:1]))
    with pytest.raises(LapeError, match=r"fr\.jsonl: is not the file that .*fr\.json was written for; run"):
        load_questions(header)
    write_header(header, "instructions", parameters={}, inputs=[], outputs=[])
    with pytest.raises(LapeError, match=r"fr\.json: is the header of 'instructions', not of 'questions'; pass"):
        load_questions(header)


def test_alignment(tmp_path):
    headers = [make(tmp_path, language, ROWS) for language in ("en", "no", "fr")]
    assert aligned(headers) == [1, 3, 44]
    assert aligned(headers[:1]) == [1, 3, 44]
    make(tmp_path, "no", [*ROWS[:2], {"number": 7, "question": "Hvor?"}, {"number": 9, "question": "Hva?"}])
    with pytest.raises(LapeError) as caught:
        aligned(headers)
    assert str(caught.value) == (
        f"{headers[1]}: lacks the questions [44] of {headers[0]}, and has [7, 9] beside them; add what is missing, or "
        "leave these numbers out of all languages by `skip`"
    )


@pytest.mark.parametrize(
    ("rows", "numbers", "count"),
    [
        ([1, 3, 44], [1, 3, 44], 4),
        ([1, 3, 44], [1, 3, 45], 3),
        ([1, 3, 3], [1, 3, 3], 3),
        ([3, 1, 44], [3, 1, 44], 3),
    ],
)
def test_audit_recounts_the_questions(tmp_path, monkeypatch, rows, numbers, count):
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(json.dumps({"run": "x", "models": [], "languages": []}))
    header = make(Path(), "fr", ROWS)
    assert audit_faults(header) == []
    # Under consistent hashes only the content can tell.
    Path("fr.jsonl").write_bytes(lines([{"number": number, "question": QUESTIONS[number]} for number in rows]))
    fields = {key: read_json(header)[key] for key in ("language", "parameters", "inputs")}
    write_header(header, "questions", **fields, questions=count, numbers=numbers, outputs=["fr.jsonl"])
    ((path, fault),) = audit_faults(header)
    assert path == "fr.json" and fault.startswith("has the questions [")


def audit_faults(header: Path) -> list[tuple[str, str]]:
    """What the audit says of a run that is this artifact."""
    return list(audit(build_manifest([header], "results/x", "config.json")))
