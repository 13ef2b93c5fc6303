"""`lape pairs`: questions, datasets of the hub and files as pairs to translate, and what is refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.text.pairs import build_pairs, load_pairs
from lape.text.questions import build_questions

ENGLISH = {1: "Where are you?", 3: "Tell me\na story.", 7: "What do you see?"}
FRENCH = {1: "Où es-tu ?", 3: "Raconte une histoire.", 7: "Que vois-tu ?"}


def lines(texts: dict[int, str], **columns: str) -> str:
    number, question = columns.get("number", "number"), columns.get("question", "question")
    return "".join(json.dumps({number: key, question: text}) + "\n" for key, text in texts.items())


def build(tmp_path, source: str, settings: dict, *, target: str = "fr", number: int | None = None) -> list[dict]:
    output = tmp_path / "pairs" / f"{target}.jsonl"
    build_pairs("news", "en", target, source, settings, output, number=number)
    return load_pairs(output.with_suffix(".json"))


def refusal(tmp_path, source: str, settings: dict, **options) -> str:
    """The one line with which pairs are refused; no file is left."""
    with pytest.raises(LapeError) as caught:
        build(tmp_path, source, settings, **options)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    assert not list(tmp_path.glob("pairs/*"))
    return str(caught.value)


# Questions


@pytest.fixture
def questions(tmp_path):
    """Headers of two languages' questions."""
    for language, texts in (("en", ENGLISH), ("fr", FRENCH)):
        (tmp_path / f"{language}.jsonl").write_text(lines(texts))
        build_questions(language, {"pattern": str(tmp_path / "{language}.jsonl")}, tmp_path / "q" / f"{language}.jsonl")
    return [str(tmp_path / "q" / f"{language}.json") for language in ("en", "fr")]


def test_questions(questions, tmp_path):
    expected = [{"number": n, "source": ENGLISH[n], "reference": FRENCH[n]} for n in ENGLISH]
    assert build(tmp_path, "questions", {"questions": questions}) == expected
    assert build(tmp_path, "questions", {"questions": questions}, number=2) == expected[:2]
    header = read_json(tmp_path / "pairs" / "fr.json", "pairs")
    fields = ("corpus", "language", "source_language", "source", "pairs")
    assert [header[field] for field in fields] == ["news", "fr", "en", "questions", 2]
    assert header["parameters"] == {"settings": {"questions": questions}, "number": 2}
    names = [tmp_path / "q" / f"{language}.{end}" for language in ("en", "fr") for end in ("json", "jsonl")]
    assert list(header["inputs"]) == list(map(str, names))


def test_questions_that_are_refused(questions, tmp_path):
    given = {"questions": questions}
    assert "4 are wanted, 3 is all there is" in refusal(tmp_path, "questions", given, number=4)
    assert "0 pairs are none; ask for 1 or more" in refusal(tmp_path, "questions", given, number=0)
    assert "fr.json: has questions in 'fr', not in 'de'" in refusal(tmp_path, "questions", given, target="de")
    assert "'en' is translated from itself" in refusal(tmp_path, "questions", given, target="en")
    assert "missing a required argument: 'questions'" in refusal(tmp_path, "questions", {})
    (tmp_path / "fr.jsonl").write_text(lines({1: "Où ?", 4: "Qui ?", 7: "Quoi ?"}))
    build_questions("fr", {"pattern": str(tmp_path / "fr.jsonl")}, tmp_path / "q" / "fr.jsonl")
    assert "lacks the questions [3] of" in refusal(tmp_path, "questions", given)


def test_command(questions, tmp_path, lape):
    output = tmp_path / "out" / "fr.jsonl"
    words = "pairs --corpus questions --source-language en --language fr --source questions --number 2"
    status, messages = lape(*words.split(), "--questions", *questions, "--output", output)
    assert status == 0, messages
    assert [row["number"] for row in load_pairs(output.with_suffix(".json"))] == [1, 3]
    assert "pairs questions fr: 2" in messages
    status, messages = lape(*words.split(), "--questions", *reversed(questions), "--output", output)
    assert status == 1 and "pass the source's, then the target's" in messages and messages.count("\n") == 1
    output.write_text("")
    with pytest.raises(LapeError, match="is not the file that"):
        load_pairs(output.with_suffix(".json"))


# Files


def test_aligned_files(tmp_path):
    (tmp_path / "en.txt").write_text("".join(f" {text} \n" for text in ("One.", "Two.", "Three.")))
    (tmp_path / "fr.txt").write_text("Un.\nDeux.\nTrois.\n")
    found = build(tmp_path, "files", {"pattern": str(tmp_path / "{language}.txt"), "skip": [2]})
    assert found == [
        {"number": 1, "source": "One.", "reference": "Un."},
        {"number": 3, "source": "Three.", "reference": "Trois."},
    ]
    assert list(read_json(tmp_path / "pairs" / "fr.json")["inputs"]) == [
        str(tmp_path / "en.txt"),
        str(tmp_path / "fr.txt"),
    ]


def test_json_lines(tmp_path):
    for language, texts in (("en", ENGLISH), ("fr", dict(reversed(FRENCH.items())))):
        (tmp_path / f"{language}.jsonl").write_text(lines(texts, number="id", question="text"))
    pattern = {language: str(tmp_path / f"{language}.jsonl") for language in ("en", "fr")}
    found = build(tmp_path, "files", {"pattern": pattern, "columns": {"number": "id", "question": "text"}})
    assert found == [{"number": n, "source": ENGLISH[n], "reference": FRENCH[n]} for n in ENGLISH]


def test_files_that_are_refused(tmp_path):
    pattern = {"pattern": str(tmp_path / "{language}.txt")}
    (tmp_path / "en.txt").write_text("One.\nTwo.\n")
    (tmp_path / "fr.txt").write_text("Un.\n")
    assert "the numbers [2] stand in one language only" in refusal(tmp_path, "files", pattern)
    (tmp_path / "fr.txt").write_text("Un.\n\n")
    assert "fr.txt:2: the text is empty" in refusal(tmp_path, "files", pattern)
    assert "unexpected keyword argument 'column'" in refusal(tmp_path, "files", {**pattern, "column": "text"})


# Datasets of the hub


def dataset(folder, tables: dict[str, dict], card: bool = True) -> str:
    """A dataset as the hub has it, with a configuration for each table, or without a card, as its own exports are."""
    configs = ""
    for config, columns in tables.items():
        (folder / config / "test").mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / config / "test" / "0000.parquet")
        configs += f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test/*.parquet\n"
    if card:
        (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return str(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


def translations(*languages: str) -> dict:
    """Four rows of a column that holds both texts; the second has no text in the first language."""
    texts = [{code: f" Row {n} in {code}.\n" for code in languages} for n in range(1, 5)]
    texts[1][languages[0]] = ""
    return {"translation": texts}


@pytest.mark.parametrize(
    ("folder", "card", "settings"),
    [
        ("fr-en", True, {"config": "{language}-{source}"}),
        ("talks-en-fr", False, {"data_dir": "talks-{source}-{language}"}),
    ],
)
def test_column_of_translations(tmp_path, folder, card, settings):
    other = folder.replace("fr", "de")
    tables = {folder: translations("fr", "en"), other: translations("de", "en")}
    path = dataset(tmp_path / "wmt", tables, card)
    for target in ("fr", "de"):
        found = build(tmp_path, "hub", {"path": path, "split": "test", **settings}, target=target)
        # Numbers are the rows', so that they do not move where a pair is left out.
        assert found == [
            {"number": n, "source": f"Row {n} in en.", "reference": f"Row {n} in {target}."} for n in (1, 3, 4)
        ]
        header = read_json(tmp_path / "pairs" / f"{target}.json")
        assert header["bad_rows"] == {"count": 1, "examples": ["row 2: the text is empty"]}
    assert [
        row["number"] for row in build(tmp_path, "hub", header["parameters"]["settings"], target="de", number=2)
    ] == [
        1,
        3,
    ]


def test_names_of_the_languages(tmp_path):
    path = dataset(tmp_path / "opus", {"en_XX-fr_FR": {"pair": translations("en_XX", "fr_FR")["translation"]}})
    settings = {"path": path, "split": "test", "config": "{source}-{language}", "translation_column": "pair"}
    names = {"en": "en_XX", "fr": "fr_FR"}
    assert [row["reference"] for row in build(tmp_path, "hub", {**settings, "names": names})] == [
        f"Row {n} in fr_FR." for n in (1, 3, 4)
    ]


def flores(tmp_path, order=(0, 1, 2)) -> dict:
    texts = {
        config: {"id": [10, 11, 12], "sentence": [f"{config} {n}" for n in range(3)]}
        for config in ("eng_Latn", "fra_Latn")
    }
    texts["fra_Latn"] = {column: [cells[row] for row in order] for column, cells in texts["fra_Latn"].items()}
    names = {"en": "eng_Latn", "fr": "fra_Latn"}
    path = dataset(tmp_path / "flores", texts)
    return {"path": path, "split": "test", "config": "{language}", "names": names, "text_column": "sentence"}


@pytest.mark.parametrize(("order", "id_column"), [((0, 1, 2), None), ((2, 0, 1), "id")])
def test_aligned_configurations(tmp_path, order, id_column):
    found = build(tmp_path, "hub", {**flores(tmp_path, order), "id_column": id_column})
    assert found == [{"number": n + 1, "source": f"eng_Latn {n}", "reference": f"fra_Latn {n}"} for n in range(3)]


def test_configurations_that_are_not_aligned(tmp_path):
    settings = flores(tmp_path, (0, 2))
    assert "1 rows have no counterpart; name their id_column" in refusal(tmp_path, "hub", settings)
    assert "1 rows have no counterpart" in refusal(tmp_path, "hub", {**settings, "id_column": "id"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"text_column": "text"}, "has no column 'text', but id, sentence; correct its name"),
        ({"id_column": "key"}, "has no column 'key', but id, sentence; correct its name"),
        ({"text_column": None}, "has no column 'translation', but id, sentence; correct its name"),
        ({"text_column": None, "translation_column": "sentence"}, "'sentence' holds no translations"),
        ({"names": {"fr": "fra_Latn"}}, "names: has no name of 'en', only of fr; add one"),
        ({"config": "latin"}, "cannot be read"),
        ({"translation_column": "pair"}, "either text_column 'sentence' or translation_column 'pair' has the texts"),
        ({"text_column": None, "id_column": "id"}, "id_column 'id' aligns the text_column of two configurations"),
        (
            {"text_column": None, "id_column": "id", "translation_column": "pair"},
            "id_column 'id' aligns the text_column of two configurations",
        ),
    ],
)
def test_hub_faults(tmp_path, change, fault):
    assert fault in refusal(tmp_path, "hub", flores(tmp_path) | change)


def test_ids_that_are_there_twice(tmp_path):
    settings = flores(tmp_path, (0, 1, 1))
    assert "id 11 is there twice; name another id_column" in refusal(tmp_path, "hub", {**settings, "id_column": "id"})


def test_translations_that_lack_a_language(tmp_path):
    path = dataset(tmp_path / "wmt", {"fr-en": translations("fr", "en")})
    fault = refusal(tmp_path, "hub", {"path": path, "split": "test", "config": "fr-en"}, target="de")
    assert "column 'translation': has no column 'de', but" in fault
