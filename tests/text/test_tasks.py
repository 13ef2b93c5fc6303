"""`lape task`: BIG-bench's documents and JSON lines, balance, alignment, and what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lape.artifacts.files import read_json
from lape.audit.run import CHECKS
from lape.errors import LapeError
from lape.text.build import build_corpus
from lape.text.shortcuts import RULES, word_set
from lape.text.stored import StoredCorpus
from lape.text.tasks import Question, balanced, build_task, load_aligned, load_task

LABELS = {"good": "Good", "bad": "Bad"}
SETTINGS = {"file": "joined.json", "document": "mood_{language}"}


def example(text, **scores):
    return {"input": text, "target_scores": scores}


def examples(language):
    """Five examples in one language; the one of another label and an empty one are left out by settings."""
    return [
        example(f"{language} 0\n", bad=0, good=1, mixed=0),
        example(f"{language} 1", bad=0, good=0, mixed=1),
        example("" if language == "ja" else f"{language} 2", bad=0, good=1, mixed=0),
        example(f"{language} 3", bad=1, good=0, mixed=0),
        example(f"{language} 4", bad=0, good=1, mixed=0),
    ]


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """A download of several documents, one right after another; the working directory."""
    documents = [{"name": f"mood_{language}", "examples": examples(language)} for language in ("fr", "ja")]
    (tmp_path / "joined.json").write_text(
        "\n".join(json.dumps(each) for each in documents) + json.dumps([1]) + "\n{}", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(language, number=None, source="embedded", **settings) -> Path:
    path = Path(f"{language}.json")
    build_task("mood", language, source, settings, path.with_suffix(".jsonl"), number=number)
    return path


def test_documents_of_bigbench_are_read_balanced_and_aligned(joined):
    paths = [build(language, skip=[2], labels=LABELS, **SETTINGS) for language in ("fr", "ja")]
    tasks = load_aligned(paths)
    assert tasks["ja"] == [Question(0, "ja 0", ["Good", "Bad"], 0), Question(3, "ja 3", ["Good", "Bad"], 1)]
    header = read_json(paths[0], "task")
    assert (header["task"], header["language"], header["questions"], header["found"]) == ("mood", "fr", 2, 3)
    assert list(CHECKS["task"](paths[0], header)) == []
    # What is written can be read as files, and gives the same.
    again = build("fr", source="files", pattern=str(joined / "{language}.jsonl"))
    assert load_task(again) == tasks["fr"]
    (joined / "fr.jsonl").write_bytes((joined / "ja.jsonl").read_bytes())
    header = read_json(build("ja", skip=[2], labels=LABELS, **SETTINGS)) | {"outputs": {}}
    Path("ja.jsonl").write_text(Path("ja.jsonl").read_text().replace("ja 3", "ja 4"))
    Path("ja.json").write_text(json.dumps(header))
    assert list(CHECKS["task"](Path("ja.json"), header)) == ["reading its source again gives other questions"]


def test_without_labels_every_label_is_a_choice(joined):
    with pytest.raises(LapeError, match="2 questions of each answer are wanted, 1 is all there is of one; lower"):
        build("fr", number=6, **SETTINGS)
    assert {tuple(each.choices) for each in load_task(build("fr", **SETTINGS))} == {("bad", "good", "mixed")}


@pytest.mark.parametrize(
    ("language", "settings", "fault"),
    [
        ("de", SETTINGS, "joined.json: has no document 'mood_de' with a list 'examples'; correct 'document'"),
        ("fr", SETTINGS | {"file": "none.json"}, "none.json: cannot be read"),
        ("fr", SETTINGS | {"field": "x"}, "settings of tasks source embedded: got an unexpected keyword argument"),
        ("ja", SETTINGS, "task mood ja: 1 bad rows, the first is mood_ja:example 2: the text is empty; mend the file"),
        ("fr", SETTINGS | {"labels": LABELS | {"x": "X"}}, "1 questions of each answer are wanted, 0 is all"),
    ],
)
def test_refusals_of_documents(joined, language, settings, fault):
    with pytest.raises(LapeError) as caught:
        build(language, **settings)
    assert fault in str(caught.value) and "\n" not in str(caught.value)
    assert not list(joined.glob(f"{language}.*"))


ROW = {"id": 1, "question": "Qui ?", "choices": ["Oui", "Non"], "answer": 0}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([ROW | {"answer": 2}], "rows.jsonl:1: answer 2 is no place among two choices or more"),
        ([ROW | {"choices": ["Oui"]}], "rows.jsonl:1: answer 0 is no place among two choices or more"),
        ([ROW | {"choices": ["Oui", " "]}], "rows.jsonl:1: a choice is no text"),
        ([ROW | {"id": "1"}], "rows.jsonl:1: no object with id, question, choices, answer"),
        ([ROW, ROW], "id 1 is there twice; number the questions"),
        ([ROW], "1 questions of each answer are wanted, 0 is all there is of one"),
        ([], "1 questions of each answer are wanted, 0 is all there is of one"),
    ],
)
def test_refusals_of_files(tmp_path, monkeypatch, rows, fault):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(LapeError) as caught:
        build("fr", source="files", pattern="rows.jsonl")
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_the_first_of_each_answer_are_taken():
    questions = [Question(identity, "?", ["a", "b"], identity % 3 // 2) for identity in (8, 7, 6, 5, 4, 2, 1, 0)]
    assert [each.id for each in balanced(questions, None, "x")] == [0, 1, 2, 4, 5, 8]
    assert [each.id for each in balanced(questions, 4, "x")] == [0, 1, 2, 5]
    with pytest.raises(LapeError, match="x: 3 questions are no multiple of 2 answers; name a multiple"):
        balanced(questions, 3, "x")


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"id": 5}, "has other questions, or other right choices, than"), ({}, "fr is there twice; name each language")],
)
def test_languages_that_are_not_aligned_are_refused(tmp_path, monkeypatch, change, fault):
    monkeypatch.chdir(tmp_path)
    for language, own in (("fr", {}), ("ja", change)):
        rows = [ROW, ROW | {"id": 2, "answer": 1} | own]
        Path(f"{language}-rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        build(language, source="files", pattern=f"{language}-rows.jsonl")
    with pytest.raises(LapeError, match=fault):
        load_aligned(["fr.json", "ja.json" if change else "fr.json"])


SUBJECTS = ["horse", "river", "window", "teacher", "garden", "bridge", "doctor", "kitchen", "letter", "harbour"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A corpus of 20 documents, half of which are kept for evaluation; the working directory.

    Every document has five pairs of a sentence and the next one. The first sentence names the document.
    """
    monkeypatch.chdir(tmp_path)
    for language in ("fr", "ja"):
        for document in range(20):
            pairs = (
                f"About q{document} the {SUBJECTS[pair]} there is a good deal to be said. "
                f"They say of a{document} that {SUBJECTS[-pair - 1]} waits."
                for pair in range(5)
            )
            Path(f"{language}-{document}.txt").write_text(" ".join(pairs))
        settings = {"pattern": f"{language}-*.txt", "text_column": "text", "id_column": None}
        build_corpus(language, "files", settings, f"corpus/{language}.parquet", language_check="off")
    return tmp_path


def passages(language, number=40, **settings) -> Path:
    settings = {"corpus": f"corpus/{language}.parquet", "valid_share": 0.5, "seed": 0, "passages": 50} | settings
    return build(language, number, "next_passage", **settings)


def test_passages_are_of_held_out_documents_and_alike(kept):
    tasks = load_aligned([passages(language) for language in ("fr", "ja")])
    stored = StoredCorpus("corpus/fr.parquet")
    held_out = {text.split()[1][1:] for text in stored.texts(stored.rows("valid", 0.5, 0))}
    for each in tasks["fr"]:
        asked, documents = each.question.split()[1][1:], [choice.split()[3][1:] for choice in each.choices]
        assert documents.index(asked) == each.answer and set(documents) <= held_out and len(set(documents)) == 4
        sizes = [len(choice.encode()) for choice in each.choices]
        assert max(sizes) <= 32 and max(abs(size - sizes[each.answer]) for size in sizes) <= 0.2 * sizes[each.answer]
        shared = [len(word_set(each.question) & word_set(choice)) for choice in each.choices]
        assert len(set(shared)) == 1
    assert Counter(each.answer for each in tasks["fr"]) == dict.fromkeys(range(4), 10)
    wrong = Counter(choice for each in tasks["fr"] for place, choice in enumerate(each.choices) if place != each.answer)
    assert max(wrong.values()) <= 4
    header = read_json("fr.json", "task")
    assert [row["rule"] for row in header["baselines"]] == list(RULES)
    assert list(CHECKS["task"](Path("fr.json"), header)) == []
    before = Path("fr.jsonl").read_bytes()
    passages("fr")
    assert Path("fr.jsonl").read_bytes() == before
    with pytest.raises(LapeError, match=r"corpus/fr\.parquet: is in 'fr', not in 'ja'; pass this language's corpus"):
        build("ja", 40, "next_passage", corpus="corpus/fr.parquet", valid_share=0.5, seed=0)
