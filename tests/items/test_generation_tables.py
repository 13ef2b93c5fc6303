"""Tables 1 and 4: means, intervals and tests against plain computations, the paper's numbers, and what is refused."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from answers import (
    LANGUAGES,
    QUESTIONS,
    answering,
    every_setting,
    expanded,
    flipped,
    given,
    hits,
    noise,
    one,
    percentiles,
    wilson,
    write_judgements,
    write_setting,
)

from lape.artifacts.files import read_json
from lape.audit.run import _check_table
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.uncertainty import resamples
from lape.items.answers.inputs import Resampling, load, mean
from lape.items.registry import TABLES
from lape.items.tables import read, subjects
from lape.paper import paper_model

PAPER = ["en", "zh", "fr", "es", "vi", "id", "ja"]


FOREIGN = ["fr", "ja", "ko"]

# The accuracies of the identifiers that were asked; HeLI-OTS was not.
SHARES = {"language_accuracy": "langdetect", "lingua_accuracy": "lingua", "fasttext_accuracy": "fasttext"}


def test_answers_deactivated_holds_every_setting_metric_and_language_with_intervals(tmp_path):
    frame = TABLES["answers_deactivated"].rows(every_setting(tmp_path))
    columns = "model,prompt,setting,deactivated,language,metric,answers,ours,low,high,paper,difference"
    assert ",".join(frame.columns) == columns
    rows = [("normal", ""), ("random", ""), *(("deactivated", language) for language in LANGUAGES)]
    assert list(frame[["setting", "deactivated"]].drop_duplicates().itertuples(index=False, name=None)) == rows
    assert len(frame) == len(rows) * len(LANGUAGES) * 9 and "content_quality" not in set(frame["metric"])
    assert frame[["paper", "difference"]].isna().all(axis=None)
    for (setting, code), language in itertools.product(rows, LANGUAGES):
        name = f"{setting}-{code}" if code else setting
        own = frame[(frame["setting"] == setting) & (frame["deactivated"] == code)]
        for metric, column in SHARES.items():
            row, expected = one(own, language=language, metric=metric), hits(name, language, column=column)
            assert row.ours == pytest.approx(sum(expected) / QUESTIONS) and row.answers == QUESTIONS
            assert (row.low, row.high) == pytest.approx(wilson(sum(expected) / QUESTIONS, QUESTIONS))
        row, expected = one(own, language=language, metric="nll"), given(name, "nll", language)
        assert row.ours == pytest.approx(sum(expected) / QUESTIONS)
        assert (row.low, row.high) == pytest.approx(percentiles([expected]))


def test_answers_deactivated_sections_are_a_matrix_a_metric_with_languages_across(tmp_path):
    # A language may be called as a setting is.
    languages = ("no", "normal")
    frame = TABLES["answers_deactivated"].rows(every_setting(tmp_path, languages))
    sections = TABLES["answers_deactivated"].sections(frame)
    assert len(sections) == 7  # neither has another script, so that Latin words tell nothing
    assert sections[0].title.startswith("tiny, plain prompt: language accuracy (langdetect)")
    assert sections[0].cells.columns.tolist() == ["no", "normal"]
    rows = ["normal", "random", "no deactivated", "normal deactivated"]
    assert sections[0].cells.index.tolist() == rows
    shown = sections[0].cells.at["normal deactivated", "no"]
    assert shown == f"{sum(hits('deactivated-normal', 'no')) / QUESTIONS:.2f}"


def test_confusion_is_the_harmonic_mean_of_lines_and_words_where_a_script_is_another(tmp_path):
    """Of twelve Japanese answers eight pass by line, and six of these by word; no Korean one passes."""

    def answer(language, target, number):
        lines = {"fr": "fr", "ja": "ja ja" if number <= 8 else "ja en", "ko": "en"}[target]
        return {"line_languages": lines, "latin_words": int(number in (1, 2))}

    written = [write_setting(tmp_path, name, answer, languages=FOREIGN) for name in ("normal", "steered")]
    frame = TABLES["answers_steered"].rows([path for paths in written for path in paths], resamples=300)
    own = frame[frame["setting"] == "steered"]
    assert [one(own, language=code, metric="line_pass_rate").ours for code in FOREIGN] == [1, pytest.approx(2 / 3), 0]
    row = one(own, language="ja", metric="word_pass_rate")
    assert (row.ours, row.answers) == (6 / 8, 8) and (row.low, row.high) == pytest.approx(wilson(6 / 8, 8))
    rates = own[own["metric"] == "confusion_pass_rate"].set_index("language")
    japanese = 2 * (2 / 3) * (6 / 8) / (2 / 3 + 6 / 8)
    expected = {"fr": math.nan, "ja": japanese, "ko": 0, "": japanese / 2}
    assert rates["ours"].to_dict() == pytest.approx(expected, nan_ok=True)
    assert rates.at["", "low"] < japanese / 2 < rates.at["", "high"] and rates["change"].isna().all()
    assert rates.at["ja", "low"] == pytest.approx(2 * rates.at["", "low"])


def test_content_quality_is_there_where_it_was_judged_and_leaves_out_what_has_no_rating(tmp_path):
    def unclear(language, target, number):
        return {"rating": None if number == 3 else float(number)}

    paths = [*every_setting(tmp_path), *write_setting(tmp_path, "normal", unclear, judged=True)[1:]]
    # The judgements belong to the answers that `unclear` gave: score those.
    paths[0] = write_setting(tmp_path, "normal", unclear)[0]
    frame = TABLES["answers_deactivated"].rows(paths)
    quality = frame[(frame["metric"] == "content_quality") & (frame["setting"] == "normal")]
    assert quality["answers"].tolist() == [QUESTIONS - 1] * 3
    assert quality["ours"].tolist() == pytest.approx([(sum(range(1, 13)) - 3) / 11] * 3)
    others = frame[(frame["metric"] == "content_quality") & (frame["setting"] != "normal")]
    assert others["answers"].eq(0).all() and others[["ours", "low", "high"]].isna().all(axis=None)


def test_values_that_answers_lack_are_left_out_of_means_and_draws(tmp_path):
    def empty(language, target, number):
        return {"nll": None if number <= 2 else float(number), "distinct_2": None}

    paths = write_setting(tmp_path, "normal", empty)
    paths += [path for k in LANGUAGES for path in write_setting(tmp_path, f"deactivated-{k}")]
    frame = TABLES["answers_deactivated"].rows(paths, resamples=500, seed=4)
    row = one(frame[frame["setting"] == "normal"], language="no", metric="nll")
    assert row.answers == 10 and row.ours == pytest.approx(7.5)
    values = np.array([np.nan, np.nan, *range(3, 13)])
    expected = [np.nanmean(values[draw]) for draw in resamples(12, 500, 4)]
    assert (row.low, row.high) == pytest.approx(expanded(expected, 10))
    row = one(frame[frame["setting"] == "normal"], language="no", metric="distinct_2")
    assert row.answers == 0 and all(map(math.isnan, (row.ours, row.low, row.high)))


def test_short_answers_fail_and_a_language_no_identifier_knows_has_no_accuracy(tmp_path):
    def short(language, target, number):
        found = {1: "short", 2: "unknown"}.get(number, target)
        return {"langdetect": found, "lingua": {1: "short", 3: "da"}.get(number, target)}

    paths = [path for name in ("normal", "steered") for path in write_setting(tmp_path, name, short, unknown=["nan"])]
    frame = TABLES["answers_steered"].rows(paths)
    own = frame[frame["setting"] == "normal"]
    assert one(own, language="no", metric="language_accuracy").ours == pytest.approx(10 / 12)
    assert one(own, language="no", metric="lingua_accuracy").ours == pytest.approx(10 / 12)
    assert one(own, language="no", metric="short").ours == pytest.approx(1 / 12)
    # Of the ten that both identify, they differ on one.
    row = one(own, language="no", metric="disagreement")
    assert (row.ours, row.answers) == (pytest.approx(0.1), 10)
    row = one(own, language="nan", metric="language_accuracy")
    assert row.answers == 0 and all(map(math.isnan, (row.ours, row.low, row.high)))
    # The mean is over the languages that it can tell.
    assert one(own, language="", metric="language_accuracy").answers == 2 * QUESTIONS
    assert TABLES["answers_steered"].sections(frame)[0].cells.at["normal", "nan"] == ""


def test_answers_steered_pairs_every_change_with_the_normal_answer_to_the_same_question(tmp_path):
    frame = TABLES["answers_steered"].rows(every_setting(tmp_path), seed=2)
    assert frame["setting"].unique().tolist() == ["normal", "steered", "steered_random"]
    assert frame["language"].unique().tolist() == [*LANGUAGES, ""]
    changes = "change,change_low,change_high,p_value,p_holm".split(",")
    assert frame.loc[frame["setting"] == "normal", changes].isna().all(axis=None)
    for setting in ("steered", "steered_random"):
        for metric, values in (("language_accuracy", hits), ("nll", lambda name, k: given(name, "nll", k))):
            own = frame[(frame["setting"] == setting) & (frame["metric"] == metric)].set_index("language")
            differences = [
                [a - b for a, b in zip(values(setting, k), values("normal", k), strict=True)] for k in LANGUAGES
            ]
            p_values = [flipped(row) for row in differences]
            for language, row, p_value in zip(LANGUAGES, differences, p_values, strict=True):
                cell = own.loc[language]
                assert cell["change"] == pytest.approx(sum(row) / QUESTIONS)
                assert [cell["change_low"], cell["change_high"]] == pytest.approx(percentiles([row], 2))
                assert cell["p_value"] == pytest.approx(p_value)
            ranked = sorted(p_values)
            stepped = [max((3 - place) * ranked[place] for place in range(rank + 1)) for rank in range(3)]
            adjusted = [min(1, stepped[ranked.index(p_value)]) for p_value in p_values]
            assert own.loc[list(LANGUAGES), "p_holm"].tolist() == pytest.approx(adjusted)

            cell, by_question = own.loc[""], [sum(three) / 3 for three in zip(*differences, strict=True)]
            assert cell["change"] == pytest.approx(sum(by_question) / QUESTIONS)
            assert [cell["change_low"], cell["change_high"]] == pytest.approx(percentiles(differences, 2))
            assert cell["p_value"] == cell["p_holm"] == pytest.approx(flipped(by_question))
            assert [cell["low"], cell["high"]] == pytest.approx(percentiles([values(setting, k) for k in LANGUAGES], 2))


def test_a_mean_without_a_miss_is_no_point(tmp_path):
    paths = [path for name in ("normal", "steered") for path in write_setting(tmp_path, name)]
    frame = TABLES["answers_steered"].rows(paths)
    row = one(frame[frame["setting"] == "normal"], language="", metric="language_accuracy")
    # As many answers as questions: those to one question are no samples of their own.
    assert (row.ours, row.low, row.high) == pytest.approx((1, *wilson(1, QUESTIONS)))
    row = one(frame[frame["setting"] == "steered"], language="", metric="language_accuracy")
    assert (row.change, row.change_low, row.change_high, row.p_value) == (0, 0, 0, 1)


def test_intervals_do_not_depend_on_what_else_is_measured(tmp_path):
    everything = every_setting(tmp_path)
    few = [path for path in everything if path.stem in ("normal", "steered")]
    keys = ["setting", "language", "metric"]
    both = [TABLES["answers_steered"].rows(paths).set_index(keys) for paths in (everything, few)]
    pd.testing.assert_frame_equal(both[0].loc[both[1].index].drop(columns="p_holm"), both[1].drop(columns="p_holm"))


def test_the_order_of_the_headers_does_not_matter(tmp_path):
    paths = every_setting(tmp_path, judged=True)
    paths += write_setting(tmp_path, "steered@add-all-2-1", answering("more"), judged=True)
    shuffled = noise("order").sample(paths, len(paths))
    for item in ("answers_deactivated", "answers_steered", "cross_lingual", "dose_response"):
        both = [TABLES[item].rows(order, resamples=50) for order in (paths, shuffled)]
        pd.testing.assert_frame_equal(*both)


def test_models_and_prompts_stand_apart_and_may_have_other_languages(tmp_path):
    paths = every_setting(tmp_path)
    for name in ("normal", "steered"):
        paths += write_setting(tmp_path, name, prompt="suffix")
        paths += write_setting(tmp_path, name, model="other", languages=["de", "fr"])
    frame = TABLES["answers_steered"].rows(paths)
    found = frame[["model", "prompt", "language"]].drop_duplicates().groupby(["model", "prompt"], sort=False)
    languages = {key: block["language"].tolist() for key, block in found}
    every = [*LANGUAGES, ""]
    assert languages == {("tiny", "plain"): every, ("tiny", "suffix"): every, ("other", "plain"): ["de", "fr", ""]}
    # Table 1 is of those that were deactivated.
    answers_deactivated = TABLES["answers_deactivated"].rows(paths)
    assert answers_deactivated[["model", "prompt"]].drop_duplicates().to_numpy().tolist() == [["tiny", "plain"]]


def paper_settings(folder, model="llama-2-70b", languages=PAPER, judged=True):
    names = ["normal", "random", "steered", *(f"deactivated-{language}" for language in languages)]
    options = {"model": model, "languages": languages, "judged": judged, "questions": range(1, 5)}
    return [path for name in names for path in write_setting(folder, name, **options)]


def test_the_papers_model_has_its_numbers_beside_ours(tmp_path):
    paths = paper_settings(tmp_path, languages=PAPER[1:])
    frame = TABLES["answers_deactivated"].rows(paths)
    quality = frame[frame["metric"] == "content_quality"]
    assert one(quality, setting="random", language="id").paper == 4.42
    row = one(quality, setting="deactivated", deactivated="zh", language="ja")
    assert (row.ours, row.paper, row.difference) == (5, 2.31, pytest.approx(2.69))
    assert frame.loc[frame["metric"] != "content_quality", "paper"].isna().all()
    ours, printed, difference = TABLES["answers_deactivated"].sections(frame)[-3:]
    assert (ours.cells.at["normal", "zh"], printed.cells.at["normal", "zh"]) == ("5.00", "4.30")
    assert difference.cells.at["ja deactivated", "ja"] == "3.16" and "ours less the paper's" in difference.title

    frame = TABLES["answers_steered"].rows(paths)
    row = one(frame, setting="steered", language="id", metric="language_accuracy")
    assert (row.ours, row.paper, row.difference) == (1, 0.99, pytest.approx(0.01))
    assert one(frame, setting="normal", language="ja", metric="content_quality").paper == 2.86
    assert frame.loc[(frame["language"] == "") | (frame["metric"] == "nll"), "paper"].isna().all()
    cells = TABLES["answers_steered"].sections(frame)[0].cells
    assert cells.loc[["normal, paper", "steered, paper", "steered, difference"], "id"].tolist() == [
        "0.40",
        "0.99",
        "0.01",
    ]


def test_answers_to_english_questions_have_no_number_of_the_paper(tmp_path):
    frame = TABLES["answers_steered"].rows(paper_settings(tmp_path))
    printed = frame[frame["metric"] == "language_accuracy"].set_index(["setting", "language"])["paper"]
    assert printed["normal"].drop("").isna().to_dict() == {name: name == "en" for name in PAPER}


@pytest.mark.parametrize("other", [{"model": "llama-2-7b"}, {"model": "tiny"}, {"languages": [*PAPER, "de"]}])
def test_another_model_or_language_list_is_not_compared(tmp_path, other):
    for item in ("answers_deactivated", "answers_steered"):
        assert TABLES[item].rows(paper_settings(tmp_path, **other), resamples=10)["paper"].isna().all()


def test_the_papers_tables_are_whole():
    model = paper_model("meta-llama/Llama-2-70b-hf")
    quality, steered = model.deactivated_quality(), model.steered()
    assert len(quality) == 8 * 6 and len(steered) == 4 * 6
    assert quality["id", "id"] == 2.84 and quality["random", "zh"] == 4.18
    # The normal answers are the same in both tables.
    columns = quality.unstack()["zh"], steered.unstack()["zh"]
    assert columns[0]["normal"] == columns[1]["content_quality", "normal"] == 4.30
    assert paper_model("llama-2-7b").steered().empty and paper_model("llama-2-7b").deactivated_quality().empty


def test_few_questions_have_no_interval_of_a_mean(tmp_path):
    paths = [p for name in ("normal", "steered") for p in write_setting(tmp_path, name, questions=[4, 7, 9])]
    frame = TABLES["answers_steered"].rows(paths)
    row = one(frame[frame["setting"] == "steered"], language="no", metric="nll")
    assert row.ours == 2 and all(map(math.isnan, (row.low, row.high, row.change_low, row.change_high)))
    row = one(frame[frame["setting"] == "steered"], language="no", metric="language_accuracy")
    assert (row.low, row.high) == pytest.approx(wilson(1, 3))


def test_intervals_cover_the_mean_of_what_questions_are_drawn_from():
    covered = 0
    for sample in range(300):
        rng = np.random.default_rng(sample)
        difficulty = rng.normal(0, 1, 40)
        values = rng.gamma(4, 0.5, (3, 40)) + difficulty  # a mean of 2, answers to one question hang together
        low, high = Resampling(40, 500, sample).interval(values)
        covered += low <= 2 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_blocks_count_alike_whatever_they_lack():
    values = np.array([[1.0, np.nan, np.nan, np.nan], [0.0, 0.0, 0.0, 0.0], [np.nan] * 4])
    assert mean(values) == 0.5
    assert math.isnan(mean(values[2:]))


def test_command_writes_what_the_audit_makes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = every_setting(tmp_path, judged=True)
    names = [str(path.relative_to(tmp_path)) for path in paths]
    for item in ("answers_deactivated", "answers_steered", "cross_lingual", "dose_response"):
        output = tmp_path / f"{item}.csv"
        assert main(["table", item, *names, "--output", str(output), "--resamples", "50", "--seed", "3"]) == 0
        header = read_json(output.with_suffix(".json"), "table")
        assert header["parameters"] == {"resamples": 50, "seed": 3}
        assert header["models"] == ["tiny"] and header["languages"] == list(LANGUAGES)
        assert "scores/tiny/plain/normal.tsv" in header["inputs"]
        assert "judgements/tiny/plain/normal.tsv" in header["inputs"]
        assert list(_check_table(output.with_suffix(".json"), header)) == []
        again = read(output, ["model"])
        assert set(again["target" if "target" in again else "language"]) == {
            *LANGUAGES,
            *([""] if item != "answers_deactivated" else []),
        }
        assert subjects(again)["languages"] == list(LANGUAGES)


def refused(item, paths, *names):
    with pytest.raises(LapeError) as error:
        TABLES[item].rows(paths)
    fault, _, remedy = str(error.value).rpartition("; ")
    assert fault and remedy and "\n" not in str(error.value)
    for name in names:
        assert name in str(error.value)


def test_what_is_missing_comes_twice_or_differs_is_named(tmp_path):
    paths = every_setting(tmp_path, judged=True)
    by_name = {(path.parts[-4], path.stem): path for path in paths}
    normal, judged = by_name["scores", "normal"], by_name["judgements", "normal"]
    others = [path for path in paths if path != normal and path != judged]
    refused("answers_deactivated", others, "scores of tiny, plain, normal: missing")
    refused("answers_steered", [normal], "no scores of a setting 'steered'")
    refused("dose_response", [normal], "no scores of a setting that steers")
    refused("cross_lingual", [by_name["scores", "cross-en"]], "tiny, plain, cross-no: missing")
    without = [path for path in paths if path.stem != "cross_random-nan"]
    refused("cross_lingual", without, "cross_random-nan: missing")
    refused("answers_deactivated", [*paths, normal], str(normal), "tiny, plain, normal")
    refused("answers_deactivated", [*others, judged], str(judged), "no scores")
    refused("answers_deactivated", [*paths, tmp_path / "generations/tiny/plain/normal.json"], "'generations'")

    with pytest.raises(LapeError, match="0 resamples"):
        TABLES["answers_steered"].rows(paths, resamples=0)


def test_answers_to_other_questions_or_in_other_languages_do_not_pair(tmp_path):
    normal = write_setting(tmp_path, "normal")
    refused(
        "answers_steered",
        normal + write_setting(tmp_path, "steered", questions=range(2, 14)),
        "steered.json",
        "questions of",
    )
    steered = write_setting(tmp_path, "steered", languages=LANGUAGES[:2])
    refused("answers_steered", normal + steered, "steered.json", "other languages")
    # Languages may differ in their questions, as long as the settings agree.
    paths = [*normal, *write_setting(tmp_path, "steered")]
    for path in paths:
        table = path.with_suffix(".tsv")
        lines = [line for line in table.read_text().splitlines() if not line.startswith("no\tno\t5\t")]
        table.write_text("\n".join(lines) + "\n")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"outputs": {}}))
    frame = TABLES["answers_steered"].rows(paths)
    assert frame.loc[frame["metric"] == "nll", "answers"].tolist() == 2 * [12, 11, 12, 35]


def test_a_changed_or_foreign_table_is_refused(tmp_path):
    normal, _ = write_setting(tmp_path, "normal", judged=True)
    (steered,) = write_setting(tmp_path, "steered")
    header = json.loads(normal.read_text())
    whole = normal.with_suffix(".tsv").read_text()

    def forge(text):
        normal.with_suffix(".tsv").write_text(text)
        normal.write_text(json.dumps(header | {"outputs": {}}))

    forge(whole + whole.splitlines()[-1] + "\n")
    refused("answers_steered", [normal, steered], "normal.tsv", "answer 12 to nan in nan comes twice")
    forge(whole.replace("number", "chunk"))
    refused("answers_steered", [normal, steered], "normal.tsv", "is not a table of scores")
    forge(whole.replace("2.0", "much"))
    refused("answers_steered", [normal, steered], "normal.tsv", "is not a table of scores")
    normal.with_suffix(".tsv").unlink()
    refused("answers_steered", [normal, steered], "normal.tsv", "cannot be read")
    normal.write_text(json.dumps(header))
    normal.with_suffix(".tsv").write_text(whole.replace("2.0", "1.0"))
    refused("answers_steered", [normal, steered], "normal.tsv", "is not the file")


def test_judgements_of_other_answers_are_refused(tmp_path):
    normal, _ = write_setting(tmp_path, "normal", judged=True)
    (steered,) = write_setting(tmp_path, "steered")
    rows = pd.read_csv(normal.with_suffix(".tsv"), sep="\t", keep_default_na=False).assign(rating=4.0)
    fewer = write_judgements(tmp_path, normal, rows.iloc[1:].to_dict("records"))
    refused("answers_steered", [normal, steered, fewer], str(fewer), "judges other answers")
    again = write_judgements(tmp_path, normal, rows.to_dict("records"))
    assert TABLES["answers_steered"].rows([normal, steered, again])["metric"].isin(["content_quality"]).any()
    # The same numbers of questions, but other answers to them.
    header = json.loads(again.read_text())
    again.write_text(json.dumps(header | {"inputs": dict.fromkeys(header["inputs"], "0" * 64)}))
    refused("answers_steered", [normal, steered, again], str(again), "judges other answers")
    assert [group.model for group in load([normal, steered])] == ["tiny"]
