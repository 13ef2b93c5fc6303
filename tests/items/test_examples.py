"""Tables 2 and 5: which question is shown, and that its text survives every form."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answers import LANGUAGES, write_setting

from lape.artifacts.files import read_json, sha256
from lape.audit.run import _check_table
from lape.cli import main
from lape.errors import LapeError
from lape.items.layout import Section, latex, markdown
from lape.items.registry import TABLES
from lape.items.tables import read

ODD = '  **Bold** | a_b <b>x</b> & 100% $1$ \\ [1]\r\nnext\rline\u2028last, "quoted"\n\n'
CLEAN = '**Bold** | a_b <b>x</b> & 100% $1$ \\ [1]\nnext\nline\nlast, "quoted"'


def deactivated(folder, rises, placed=None, languages=LANGUAGES, prompt="plain"):
    """Normal answers of NLL 1 and those with every language deactivated, whose NLL rises by what `rises` says."""

    def normal(language, target, number):
        lingua = target if placed is None or number in placed else "da"
        return {"nll": 1.0, "lingua": lingua, "output": f"normal {number}"}

    paths = write_setting(folder, "normal", normal, languages=languages, questions=list(rises), prompt=prompt)
    for k in languages:

        def other(language, target, number, k=k):
            rise = rises[number] if target == k else 0.0
            nll = None if rise is None else 1.0 + rise
            return {"nll": nll, "output": f"{k} off: {number}", "langdetect": "fr" if target == k else target}

        paths += write_setting(
            folder, f"deactivated-{k}", other, languages=languages, questions=list(rises), prompt=prompt
        )
    return paths


def crossing(folder, language, nll, placed=None, languages=LANGUAGES, **options):
    def answer(language, target, number):
        found = target if placed is None or number in placed else "fr"
        return {"nll": nll[number], "langdetect": found, "output": options.get("output", f"{target} {number}")}

    return write_setting(folder, f"cross-{language}", answer, languages=languages, questions=list(nll))


@pytest.mark.parametrize(
    ("rises", "placed", "number", "candidates"),
    [
        ({1: 5.0, 2: 1.0, 3: 3.0}, None, 3, 3),
        # Of two in the middle the lower one.
        ({1: 5.0, 2: 1.0, 3: 3.0, 4: 2.0}, None, 4, 4),
        # Of equal ones the smaller number first.
        ({7: 1.0, 3: 1.0, 5: 1.0}, None, 5, 3),
        # A rise may be a fall.
        ({1: -2.0, 2: 0.5, 3: 4.0}, None, 2, 3),
        # Questions whose normal answer is in another language do not count,
        ({1: 5.0, 2: 1.0, 3: 3.0, 4: 9.0}, {1, 4}, 1, 2),
        # unless all are;
        ({1: 5.0, 2: 1.0, 3: 3.0}, set(), 3, 3),
        # nor do those with an empty answer.
        ({1: None, 2: 1.0, 3: 3.0, 4: 2.0}, None, 4, 3),
    ],
)
def test_example_deactivated_shows_the_question_of_the_median_rise(tmp_path, rises, placed, number, candidates):
    frame = TABLES["example_deactivated"].rows(deactivated(tmp_path, rises, placed), language="nan")
    assert set(frame["number"]) == {number} and set(frame["candidates"]) == {candidates}
    assert frame["part"].tolist() == ["question", "normal", "deactivated"]
    assert frame["text"].tolist() == [f"Question {number} in nan?", f"normal {number}", f"nan off: {number}"]
    assert frame["langdetect"].tolist() == ["", "nan", "fr"]
    np.testing.assert_allclose(frame["nll"], [np.nan, 1, 1 + rises[number]])


@pytest.mark.parametrize(
    ("languages", "language"), [(["en", "fr", "zh"], "zh"), (["en", "no", "nan"], "no"), (["ja", "en"], "ja")]
)
def test_example_deactivated_takes_chinese_or_the_first_that_is_not_english(tmp_path, languages, language):
    frame = TABLES["example_deactivated"].rows(deactivated(tmp_path, {1: 1.0}, languages=languages))
    assert set(frame["language"]) == {language}


def test_example_cross_lingual_shows_the_median_nll_of_those_in_the_target(tmp_path):
    paths = crossing(tmp_path, "en", {1: 4.0, 2: 1.0, 3: 2.0, 4: 3.0, 5: 9.0}, placed={1, 2, 4, 5})
    frame = TABLES["example_cross_lingual"].rows(paths, source="en", target="nan")
    assert frame["part"].tolist() == ["question", "cross"]
    assert frame["text"].tolist() == ["Question 4 in en?", "nan 4"]
    row = frame.iloc[1]
    assert (row["language"], row["target"], row["number"], row["nll"]) == ("en", "nan", 4, 3.0)
    assert (row["succeeded"], row["answers"], row["candidates"]) == (4, 5, 4)
    (section,) = TABLES["example_cross_lingual"].sections(frame)
    assert "tiny, plain prompt: en to nan, 4 of 5 answers in nan; question 4" in section.title
    # Where no answer is in the target, all are candidates.
    frame = TABLES["example_cross_lingual"].rows(crossing(tmp_path, "en", {1: 4.0, 2: 1.0, 3: 2.0}, placed=set()))
    assert set(frame["number"]) == {3} and set(frame["succeeded"]) == {0}


@pytest.mark.parametrize(
    ("languages", "wanted", "found"),
    [
        (["en", "zh", "es"], {}, ("es", "zh")),
        (["en", "zh", "fr"], {}, ("en", "zh")),
        (["no", "nan"], {}, ("no", "nan")),
        (["en", "zh", "es"], {"source": "zh"}, ("zh", "en")),
        (["en", "zh", "es"], {"target": "es"}, ("en", "es")),
    ],
)
def test_example_cross_lingual_goes_from_spanish_to_chinese_or_between_the_first_two(
    tmp_path, languages, wanted, found
):
    paths = [path for k in languages for path in crossing(tmp_path, k, {1: 1.0}, languages=languages)]
    frame = TABLES["example_cross_lingual"].rows(paths, **wanted)
    assert (frame.at[0, "language"], frame.at[0, "target"]) == found


def test_every_model_and_prompt_has_an_example_and_other_settings_are_passed_over(tmp_path):
    paths = deactivated(tmp_path, {1: 1.0, 2: 2.0, 3: 3.0})
    paths += deactivated(tmp_path, {1: 3.0, 2: 2.0, 3: 1.0, 4: 0.0}, prompt="suffix")
    paths += write_setting(tmp_path, "steered", questions=[1, 2, 3])
    paths += crossing(tmp_path, "no", {1: 1.0, 2: 2.0, 3: 3.0})
    frame = TABLES["example_deactivated"].rows(paths)
    found = frame[["prompt", "number"]].drop_duplicates().to_numpy().tolist()
    assert found == [["plain", 2], ["suffix", 3]]
    assert len(TABLES["example_deactivated"].sections(frame)) == 2
    assert TABLES["example_cross_lingual"].rows(paths)["prompt"].unique().tolist() == ["plain"]


def test_text_survives_markdown_latex_and_csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(path) for path in crossing(Path(), "no", {1: 1.0}, output=ODD)]
    output = tmp_path / "example_cross_lingual.csv"
    assert main(["table", "example_cross_lingual", *names, "--output", str(output), "--target", "en"]) == 0
    # The audit reads the file as text, which must not change its line breaks.
    header = read_json(output.with_suffix(".json"), "table")
    assert list(_check_table(output.with_suffix(".json"), header)) == []
    assert header["parameters"] == {"source": None, "target": "en"}
    answers = "generations/tiny/plain/cross-no"
    assert {f"{answers}.json", f"{answers}.jsonl", "scores/tiny/plain/cross-no.tsv"} < set(header["inputs"])
    assert header["inputs"][f"{answers}.jsonl"] == sha256(f"{answers}.jsonl")

    frame = read(output, ["text"])
    assert frame["text"].tolist() == ["Question 1 in no?", CLEAN]
    *_, row = output.with_suffix(".md").read_text(encoding="utf-8").strip().splitlines()
    cells = row.split(" | ")
    assert len(cells) == 2
    assert cells[1].removesuffix(" |") == (
        r"\*\*Bold\*\* &#124; a\_b &lt;b&gt;x&lt;/b&gt; &amp; 100% \$1\$ \\ \[1\]<br>next<br>line<br>"
        'last, "quoted"'
    )
    tex = Path(f"{output.with_suffix('.latex')}/example_cross_lingual-1.tex").read_text(encoding="utf-8")
    text = r"**Bold** $|$ a\_b $<$b$>$x$<$/b$>$ \& 100\% \$1\$ \textbackslash{} [1]"
    assert r"\leavevmode\newline ".join((text, "next", "line", "last")) in tex
    assert r"\begin{tabular}{p{0.18\linewidth}p{0.75\linewidth}}" in tex


def test_sections_name_what_was_found_and_how(tmp_path):
    sections = TABLES["example_deactivated"].sections(
        TABLES["example_deactivated"].rows(deactivated(tmp_path, {1: 5.0, 2: 1.0, 3: 3.0}))
    )
    assert "no, question 3, of 3 the one of median rise of NLL when no is deactivated" in sections[0].title
    labels = ["question", "normal output (no, NLL 1.00)", "output with no deactivated (fr, NLL 4.00)"]
    assert sections[0].cells.index.tolist() == labels
    assert "| question | Question 3 in no? |" in markdown(sections)
    assert "Question 3 in no?" in latex(sections, "example_deactivated")["example_deactivated-1.tex"]


def refused(item, paths, *names, **options):
    with pytest.raises(LapeError) as error:
        TABLES[item].rows(paths, **options)
    fault, _, remedy = str(error.value).rpartition("; ")
    assert fault and remedy and "\n" not in str(error.value)
    for name in names:
        assert name in str(error.value)


def test_what_cannot_be_shown_is_refused(tmp_path):
    paths = deactivated(tmp_path, {1: 1.0, 2: None})
    refused("example_deactivated", paths, "'de'", "name one of en, no, nan", language="de")
    refused("example_deactivated", paths[:1], "no scores of a deactivated language")
    refused("example_deactivated", paths[1:], "tiny, plain, normal: missing")
    refused("example_cross_lingual", paths, "no scores of a setting 'cross'")
    crossed = crossing(tmp_path, "no", {1: 1.0})
    refused("example_cross_lingual", crossed, "name one of en, nan", target="no")
    refused("example_cross_lingual", crossed, "name one of no", source="en")
    refused("example_deactivated", deactivated(tmp_path, {1: None, 2: None}), "every answer is empty")


def test_answers_that_were_not_scored_are_refused(tmp_path):
    (scores,) = crossing(tmp_path, "no", {1: 1.0, 2: 2.0, 3: 3.0})
    lines = tmp_path / "generations/tiny/plain/cross-no.jsonl"
    whole, header = lines.read_text(encoding="utf-8"), json.loads(scores.read_text())
    lines.write_text(whole.replace("en 2", "en two"), encoding="utf-8")
    refused("example_cross_lingual", [scores], "cross-no.jsonl", "is not what")
    scores.write_text(json.dumps(header | {"inputs": {}}))
    refused("example_cross_lingual", [scores], "cross-no.json", "does not name the answers")
    # Scores of a question that was not answered, under the right hashes.
    lines.write_text("".join(whole.splitlines(keepends=True)[3:]), encoding="utf-8")
    answers = lines.with_suffix(".json")
    own = json.loads(answers.read_text())
    answers.write_text(json.dumps(own | {"outputs": {lines.name: sha256(lines)}}))
    scores.write_text(json.dumps(header | {"inputs": {str(lines): sha256(lines)}}))
    refused("example_cross_lingual", [scores], "scores an answer that cross-no has not", target="en")


def test_numbers_are_no_prose():
    cells = pd.DataFrame({"zh": ["1.00*"]}, index=["a_b"])
    assert "| a_b      | 1.00* |" in markdown([Section("title", "corner", cells)])
    assert r"\begin{tabular}{lr}" in latex([Section("title", "corner", cells)], "item")["item-1.tex"]
