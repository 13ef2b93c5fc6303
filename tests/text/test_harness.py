"""`lape task --source harness`: ids, groups, solved examples, and what is refused."""

import sys
from pathlib import Path

import pytest
from harness_tasks import CODES

from lape.artifacts.files import read_json
from lape.audit.run import CHECKS
from lape.errors import LapeError
from lape.text.tasks import build_task, load_aligned, load_task


@pytest.fixture
def build(harness_tasks, tmp_path, monkeypatch):
    """Build a task in one language; returns its header."""
    monkeypatch.chdir(tmp_path)

    def run(language: str, name: str, **settings) -> Path:
        settings = {"name": name, "codes": CODES, "include_path": str(harness_tasks)} | settings
        build_task("mood", language, "harness", settings, Path(f"{language}.jsonl"))
        return Path(f"{language}.json")

    return run


def test_languages_are_aligned_by_fields_of_their_documents(build, harness_tasks):
    """The documents of one language stand in the reverse order."""
    with pytest.raises(LapeError, match="has other questions, or other right choices"):
        load_aligned([build(code, "mood_{language}") for code in CODES])
    for ids in ("{number}", "{number} of all"):
        paths = [build(code, "mood_{language}", ids=ids) for code in CODES]
        assert [len(questions) for questions in load_aligned(paths).values()] == [6, 6]
    header = read_json(paths[0], "task")
    assert "lm-eval" in header["versions"]
    assert header["inputs"].keys() == {
        str(harness_tasks / name) for name in ("mood_fr.yaml", "fr-test.jsonl", "fr-train.jsonl")
    }
    assert list(CHECKS["task"](paths[0], header)) == []


def test_solved_examples_groups_and_keys_set_anew(build):
    plain, solved = (load_task(build("fr", "mood_{language}", shots=shots)) for shots in (None, 2))
    assert plain[0].choices == [" la", " maison près de", " 窓が"] and plain[0].question.startswith("la maison.\n")
    assert all(
        one.question.count("?") == 1 and two.question.count("?") == 3 for one, two in zip(plain, solved, strict=True)
    )
    [first, *_] = load_task(build("fr", "mood_{language}", overrides={"description": "", "target_delimiter": ""}))
    assert first.question == plain[0].question.removeprefix("la maison.\n") and first.choices[0] == "la"
    both = load_task(build("fr", "both", ids="{text}"))
    assert len(both) == 12 and {each.question for each in plain} < {each.question for each in both}


@pytest.mark.parametrize(
    ("name", "settings", "fault"),
    [
        ("moods_{language}", {}, "task moods_fr_XX: the harness has none of this name; did you mean 'mood_fr_XX'?"),
        ("written_fr", {}, "written_fr of the harness: is of type generate_until and has no choices; evaluate it by"),
        (
            "mood_{language}",
            {"ids": "{place}"},
            "a document has no id by '{place}' ('place'); its fields are text, label",
        ),
        ("ending_{language}", {"shots": 1}, "ending_fr_XX of the harness: forbids solved examples; leave shots out"),
        (
            "both",
            {"overrides": {"description": ""}},
            "task both: is a group of the harness, and overrides are of a task;",
        ),
        ("both", {}, "task mood fr: id 0 is there twice; number the questions"),
        (
            "mood_{language}",
            {"overrides": {"doc_to_target": "x"}},
            "mood_fr_XX:0: its target 'x' is not one of the choices",
        ),
        (
            "mood_{language}",
            {"overrides": {"dataset_kwargs": {"data_files": "no.jsonl"}}},
            "dataset mood_fr_XX: cannot be",
        ),
        (
            "mood_{language}",
            {"overrides": {"doc_to_text": "label", "doc_to_target": "la", "fewshot_split": None}},
            "mood_fr_XX:0 of the harness: its choices stand in the prompt; evaluate it by `lape lm_eval`",
        ),
    ],
)
def test_refusals(build, name, settings, fault):
    with pytest.raises(LapeError) as caught:
        build("fr", name, **settings)
    assert fault in str(caught.value) and "\n" not in str(caught.value) and not list(Path().iterdir())


def test_the_harness_must_be_installed(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(LapeError, match=r'lm-eval: is not installed for .*; install it: pip install "lape\[harness\]"'):
        build("fr", "mood_{language}")
