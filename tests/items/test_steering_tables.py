"""The cross-lingual matrix and the dose-response, against plain computations."""

import itertools

import pytest
from answers import (
    LANGUAGES,
    QUESTIONS,
    answering,
    every_setting,
    flipped,
    given,
    hits,
    one,
    percentiles,
    wilson,
    write_setting,
)

from lape.errors import LapeError
from lape.items.registry import FIGURES, TABLES


def test_the_cross_lingual_matrix_stands_beside_its_control(tmp_path):
    frame = TABLES["cross_lingual"].rows(every_setting(tmp_path), seed=1)
    pairs = list(itertools.permutations(LANGUAGES, 2))
    found = frame[["method", "deactivated", "target"]].to_numpy().tolist()
    assert found == [[method, *pair] for method in ("lape", "active_lape") for pair in [*pairs, ("", "")]]
    differences = {}
    for k, m in pairs:
        row = one(frame, method="lape", deactivated=k, target=m)
        own, control = hits(f"cross-{k}", k, m), hits(f"cross_random-{k}", k, m)
        assert row.success == pytest.approx(sum(own) / QUESTIONS) and row.answers == QUESTIONS
        assert (row.low, row.high) == pytest.approx(wilson(row.success, QUESTIONS))
        assert row.lingua_success == pytest.approx(sum(hits(f"cross-{k}", k, m, "lingua")) / QUESTIONS)
        assert row.nll == pytest.approx(sum(given(f"cross-{k}", "nll", k, m)) / QUESTIONS)
        assert row.control == one(frame, method="active_lape", deactivated=k, target=m).success
        differences[k, m] = [a - b for a, b in zip(own, control, strict=True)]
        assert row.difference == pytest.approx(row.success - row.control)
        assert (row.difference_low, row.difference_high) == pytest.approx(percentiles([differences[k, m]], 1))
        assert row.p_value == pytest.approx(flipped(differences[k, m])) and row.p_holm >= row.p_value

    overall = one(frame, method="lape", target="")
    by_question = [sum(column) / 6 for column in zip(*differences.values(), strict=True)]
    assert overall.difference == pytest.approx(sum(by_question) / QUESTIONS) and overall.answers == 6 * QUESTIONS
    assert (overall.difference_low, overall.difference_high) == pytest.approx(
        percentiles(list(differences.values()), 1)
    )
    assert overall.p_value == overall.p_holm == pytest.approx(flipped(by_question))
    control = frame[frame["method"] == "active_lape"]
    assert control[["control", "difference", "p_value", "p_holm"]].isna().all(axis=None)

    lape, matched, means = TABLES["cross_lingual"].sections(frame)
    assert [lape.cells.at[k, k] for k in LANGUAGES] == ["", "", ""] and "control" not in matched.title
    marked = {(k, m) for k, m in pairs if lape.cells.at[k, m].endswith("*")}
    assert marked == {
        (row.deactivated, row.target)
        for row in frame.itertuples()
        if row.target and row.p_holm < 0.05 and row.success > row.control
    }
    assert means.cells.index.tolist() == ["lape", "active_lape"] and means.cells.at["active_lape", "p"] == ""


def test_a_matrix_without_a_control_is_not_tested(tmp_path):
    paths = [path for k in LANGUAGES for path in write_setting(tmp_path, f"cross-{k}", answering("cross"))]
    frame = TABLES["cross_lingual"].rows(paths)
    assert set(frame["method"]) == {"lape"} and frame[["control", "difference", "p_holm"]].isna().all(axis=None)
    matrix, _ = TABLES["cross_lingual"].sections(frame)
    assert "control" not in matrix.title and not matrix.cells.stack().str.endswith("*").any()


def test_doses_start_from_the_normal_answers(tmp_path):
    paths = write_setting(tmp_path, "normal", answering("normal"))
    # The undosed setting is the dose that its header tells; the sweep has it again.
    for name in ("steered", "steered@set-all-1-1", "steered@add-all-0.5-1", "steered@add-all-4-1"):
        paths += write_setting(tmp_path, name, answering(name))
    paths += write_setting(tmp_path, "steered@set-generated-1-0.1", answering("generated"))
    paths += write_setting(tmp_path, "cross-no", answering("cross-no"))
    frame = TABLES["dose_response"].rows(paths)
    means = frame[(frame["target"] == "") & (frame["language"] == "")]
    doses = means[["kind", "mode", "positions", "strength", "share"]].astype(object).fillna("").to_numpy().tolist()
    assert doses == [
        ["steered", "", "", 0.0, ""],
        ["steered", "add", "all", 0.5, 1.0],
        ["steered", "add", "all", 4.0, 1.0],
        ["steered", "set", "all", 1.0, 1.0],
        ["steered", "set", "generated", 1.0, 0.1],
        ["cross", "", "", 0.0, ""],
        ["cross", "set", "all", 1.0, 1.0],
    ]
    assert (frame["language"] == frame["target"])[frame["kind"] == "steered"].all()
    row = one(frame, kind="steered", mode="add", strength=4.0, language="no")
    values = given("steered@add-all-4-1", "langdetect", "no")
    assert row.language_accuracy == pytest.approx(values.count("no") / QUESTIONS)
    nll = given("steered@add-all-4-1", "nll", "no")
    assert (row.nll_low, row.nll_high) == pytest.approx(percentiles([nll]))
    swept = one(frame, kind="steered", mode="set", positions="all", language="no")
    assert swept.language_accuracy == pytest.approx(sum(hits("steered@set-all-1-1", "no")) / QUESTIONS)
    # Without a dose, the normal answers to no's questions that are in the target.
    nothing = frame[(frame["kind"] == "cross") & (frame["mode"] == "")].set_index("target")
    assert nothing["language"].tolist() == ["no", "no", ""]
    for target in ("en", "nan"):
        expected = given("normal", "langdetect", "no").count(target) / QUESTIONS
        assert nothing.at[target, "language_accuracy"] == pytest.approx(expected)
        assert nothing.at[target, "nll"] == pytest.approx(sum(given("normal", "nll", "no")) / QUESTIONS)
    first, *_ = TABLES["dose_response"].sections(frame)
    assert first.cells.index.tolist()[:2] == ["none (normal)", "add, all, 0.5, 100%"]
    assert first.cells.index.tolist()[-1] == "set, generated, 1, 10%"


def test_doses_are_averaged_over_the_pairs_that_all_of_them_have(tmp_path):
    paths = write_setting(tmp_path, "normal")
    for k in LANGUAGES:
        paths += write_setting(tmp_path, f"cross-{k}", answering(f"cross-{k}"))
    paths += write_setting(tmp_path, "cross-no@add-all-2-1", answering("cross-no"))
    frame = TABLES["dose_response"].rows(paths)
    means = frame[frame["target"] == ""].set_index("mode")
    assert means["answers"].tolist() == [2 * QUESTIONS] * 3
    expected = sum(sum(hits("cross-no", "no", m)) for m in ("en", "nan")) / (2 * QUESTIONS)
    assert means.at["set", "language_accuracy"] == pytest.approx(expected)
    assert means.at["add", "language_accuracy"] == means.at["set", "language_accuracy"] > 0
    assert len(frame[frame["mode"] == "set"]) == 7 and len(frame[frame["mode"] == "add"]) == 3
    apart = write_setting(tmp_path, "cross-en@add-all-2-1")
    with pytest.raises(LapeError, match="no languages that every dose has"):
        TABLES["dose_response"].rows([paths[0], paths[2], *apart])


@pytest.mark.parametrize("judged", [False, True])
def test_methods_are_compared_by_the_harmonic_mean_of_success_and_relevance(tmp_path, judged):
    names = ["normal", "cross-no", "cross-no@add-all-2-1", "cross_random-no", "diffmean-no@0.5-1", "prompted-no"]

    def answer(name: str):
        chrf = {"prompted-no": 60.0, "diffmean-no@0.5-1": 20.0}.get(name, 40.0)
        return lambda *asked: answering(name)(*asked) | {"chrf": chrf + 2 * asked[2], "rating": (asked[2] + 5) / 2}

    paths = [path for name in names for path in write_setting(tmp_path, name, answer(name), judged=judged)]
    frame = TABLES["steering_methods"].rows(paths, resamples=200)
    assert frame.groupby(["method", "dose"], sort=False).size().to_dict() == {
        ("prompt", ""): 3,
        ("neurons", "set-all-1-1"): 3,
        ("neurons", "add-all-2-1"): 3,
        ("control", "set-all-1-1"): 3,
        ("DiffMean", "0.5-1"): 3,
    }
    by, relevance = "chrF", (20 + 2 * (QUESTIONS + 1) / 2) / 100
    if judged:
        by, relevance = "judge", ((QUESTIONS + 11) / 4 - 1) / 9
    expected = []
    for target in ("en", "nan"):
        success = sum(hits("diffmean-no@0.5-1", "no", target)) / QUESTIONS
        row = one(frame, method="DiffMean", target=target)
        assert (row.success, row.relevance, row.relevance_by) == (
            pytest.approx(success),
            pytest.approx(relevance),
            by,
        )
        expected.append(2 * success * relevance / (success + relevance))
        assert row.score == pytest.approx(expected[-1])
    average = one(frame, method="DiffMean", target="")
    assert average.score == pytest.approx(sum(expected) / 2) and average.score_low < average.score < average.score_high
    own = one(frame, method="neurons", dose="set-all-1-1", target="")
    assert average.difference == pytest.approx(average.score - own.score)
    assert average.difference_low < average.difference < average.difference_high
    first, second = TABLES["steering_methods"].sections(frame)
    assert f"relevance ({by})" in first.cells.columns and second.cells.columns.tolist() == ["en", "nan"]
    drawn = FIGURES["steering_methods"].draw(frame)
    assert [text.get_text() for text in drawn.legends[0].get_texts()][:2] == ["prompt", "neurons"]
    with pytest.raises(LapeError, match="questions are in en, no"):
        TABLES["steering_methods"].rows([*paths, *write_setting(tmp_path, "cross-en")])
