"""Accuracy on tasks: exact cells of small artifacts, their intervals and tests, the figure, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import assert_legible_in_a_column, drawn_twice
from scipy import stats

from lape.artifacts.files import sha256
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.uncertainty import holm, paired_share_interval, share_interval
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.items.tables import read, texts
from lape.items.tasks.correlation import correlations

ITEM = "downstream"
# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ["no", "nan"]
QUESTIONS = 40
# Questions that are answered wrongly, the first of each language.
WRONG = {"none": {"baseline": (4, 18)}, "lape": {"no": (24, 20), "nan": (4, 19)}}
WRONG |= {"active_lape": {"no": (8, 18), "nan": (4, 18)}, "steered_lape": {"no": (4, 18), "nan": (20, 18)}}


def setting(folder, method, deactivated, wrong, languages=LANGUAGES, score="sum", questions=QUESTIONS, model="tiny"):
    """One row of a matrix. The per-byte score answers everything wrongly, the calibrated one everything rightly."""
    rows = []
    for language, errors in zip(languages, wrong, strict=True):
        for identity in range(questions):
            right = (identity + (identity < errors)) % 2  # what the sum picks; the answer is identity % 2
            for choice in (0, 1):
                answer = int(choice == identity % 2)
                loglik = -1.0 if choice == right else -2.0
                size = 1 if answer else 10**6  # so that the wrong choice has the higher likelihood per byte
                rows.append([language, identity, choice, answer, loglik, loglik - 9 * answer, size])
    names = ["evaluated", "id", "choice", "right", "loglik", "prior", "bytes"]
    path = folder / f"{model}-{method}-{deactivated}-{score}-{questions}.json"
    pd.DataFrame(rows, columns=names).to_csv(path.with_suffix(".tsv"), sep="\t", index=False)
    header = {"artifact": "accuracy", "model": model, "task": "mood", "method": method}
    steered = method.startswith("steered_")
    header |= {"deactivated": None if steered else deactivated, "steered": deactivated if steered else None}
    header |= {"languages": languages, "parameters": {"score": score}}
    path.write_text(json.dumps(header | {"outputs": {path.with_suffix(".tsv").name: sha256(path.with_suffix(".tsv"))}}))
    return path


def settings(folder, **options):
    return [
        setting(folder, method, deactivated, wrong, **options)
        for method, rows in WRONG.items()
        for deactivated, wrong in rows.items()
    ]


def rows(paths, **options) -> pd.DataFrame:
    return TABLES[ITEM].rows(paths, **{"resamples": 200} | options)


def answered(wrong: int) -> np.ndarray:
    return (np.arange(QUESTIONS) >= wrong).astype(float)


def test_cells_are_the_answers(tmp_path):
    frame = rows(settings(tmp_path))
    single = frame[frame["cells"] == "one"].set_index(["method", "switched", "evaluated"])
    assert len(single) == 2 + 3 * 4 and set(frame["questions"]) == {QUESTIONS}
    base = single.loc[("none", "baseline", "no")]
    assert (base["accuracy"], base["uniform"], base["majority"]) == (90, 50, 50)
    assert [base["low"], base["high"]] == pytest.approx([100 * bound for bound in share_interval(36, 40)])
    assert base["p_chance"] == pytest.approx(stats.binomtest(36, 40, 0.5, "greater").pvalue)
    assert (base["accuracy_sum"], base["accuracy_bytes"], base["accuracy_calibrated"]) == (90, 0, 100)
    cell = single.loc[("lape", "no", "no")]
    assert (cell["accuracy"], cell["change"], cell["control_method"]) == (40, -50, "active_lape")
    bounds = paired_share_interval(answered(24), answered(4))
    assert [cell["change_low"], cell["change_high"]] == pytest.approx([100 * bound for bound in bounds])
    assert cell["p_value"] == pytest.approx(2 * 0.5**20)  # 20 answers fell, none rose
    assert (cell["control_accuracy"], cell["above_control"]) == (80, -40)
    assert cell["control_p_value"] == pytest.approx(2 * 0.5**16)
    assert single.loc[("active_lape", "nan", "nan"), ["change", "p_value"]].tolist() == [0, 1]
    assert single.loc[("steered_lape", "nan", "no"), ["change", "control_method"]].tolist() == [-40, ""]
    # What deactivation does is one family of tests, whatever it is compared with; being above chance is another.
    for family in (["p_chance"], ["p_value", "control_p_value"]):
        plain = single[family].to_numpy()
        adjusted = single[[f"{name.replace('p_value', 'p')}_holm" for name in family]].to_numpy()
        tested = np.isfinite(plain)
        assert tested.sum() == (2 if family == ["p_chance"] else 12 + 4)
        assert (
            adjusted.T[tested.T] == pytest.approx(holm(plain.T[tested.T])) and not np.isfinite(adjusted[~tested]).any()
        )


def test_means_are_over_the_diagonal_and_over_the_rest(tmp_path):
    frame = rows(settings(tmp_path))
    means = frame[frame["cells"] != "one"].set_index(["method", "cells"])
    own, others, difference = (means.loc[("lape", kind)] for kind in ("own", "others", "difference"))
    assert (own["accuracy"], own["change"], others["change"]) == (46.25, -26.25, -2.5)
    assert own["change_low"] < -26.25 < own["change_high"] < 0
    assert own["p_value"] < 0.001 and own["above_control"] == -21.25 and own["control_p_value"] < 0.001
    assert (difference["change"], difference["above_control"]) == (-23.75, -18.75)
    assert difference["change_low"] < -23.75 < difference["change_high"] < 0 and np.isnan(difference["accuracy"])
    assert means[["low", "p_holm", "control_p_holm"]].isna().all(axis=None)
    assert set(frame.loc[frame["cells"] != "one", "evaluated"]) == {""}


def perplexity(folder, method, deactivated, nll) -> Path:
    path = folder / f"perplexity-{method}-{deactivated}.json"
    measures = [{"evaluated": language, "nll": value} for language, value in zip(LANGUAGES, nll, strict=True)]
    header = {"artifact": "perplexity", "model": "tiny", "method": method, "deactivated": deactivated}
    path.write_text(json.dumps(header | {"languages": LANGUAGES, "rows": measures}))
    return path


def test_cells_have_the_rise_of_the_likelihood(tmp_path):
    rises = [
        perplexity(tmp_path, method, row, nll)
        for method, row, nll in (("none", "baseline", (3, 4)), ("lape", "no", (5, 4.5)), ("lape", "nan", (3, 4)))
    ]
    frame = rows([*settings(tmp_path), *rises])
    single = frame[frame["cells"] == "one"].set_index(["method", "switched", "evaluated"])["nll_change"]
    assert single.loc["lape"].tolist() == [2, 0.5, 0, 0]
    assert single.loc[["active_lape", "steered_lape"]].isna().all() and "spearman" not in frame


@pytest.mark.parametrize("steps", [1, -1, 0])
def test_correlation_of_the_two_losses(steps):
    names = [f"l{number}" for number in range(4)]
    cells = [
        {
            "switched": row,
            "evaluated": column,
            "nll_change": 4 * place + other,
            "change": -steps * (place**2 * 9 + other),
        }
        for place, row in enumerate(names)
        for other, column in enumerate(names)
    ]
    found = correlations(cells, 200, 0)
    assert [row["cells"] for row in found] == ["all cells", "off the diagonal"]
    if steps:
        assert all(row["spearman"] == pytest.approx(steps) for row in found)
        assert all(-1 <= row["spearman_low"] <= row["spearman_high"] <= 1 for row in found)
    else:
        assert all(np.isnan(row["spearman"]) for row in found)
    assert correlations(cells[:2] + cells[4:6], 200, 0) == []


def test_without_a_control_and_by_another_score(tmp_path):
    paths = [path for path in settings(tmp_path, score="calibrated") if "active" not in path.name]
    frame = rows(paths)
    assert frame["control_p_value"].isna().all() and set(frame["accuracy"].dropna()) == {100}
    assert "calibrated, % [95% interval]" in texts(ITEM, frame)[".md"]


def test_the_table_reads_as_it_was_written_and_draws(tmp_path):
    paths = settings(tmp_path)
    csv = tmp_path / "tables" / f"{ITEM}.csv"
    assert main(["table", ITEM, *map(str, paths), "--resamples", "200", "--output", str(csv)]) == 0
    assert texts(ITEM, read(csv, ()))[".md"] == csv.with_suffix(".md").read_text(encoding="utf-8")
    text = csv.with_suffix(".md").read_text(encoding="utf-8")
    assert "| no         |" in text and "*+" in text and "lape, own language" in text
    frame = read(csv, ())
    svg = drawn_twice(tmp_path, ITEM, frame)[f"{ITEM}.svg"].decode()
    assert all(f">{code}" in svg for code in LANGUAGES)
    assert_legible_in_a_column(ITEM, frame)
    titles = [axis.get_title() for axis in draw(ITEM, frame).axes if axis.get_title()]
    assert titles == [f"tiny, mood\n{name}" for name in ("LAPE", "activity-matched control", "LAPE, steered")]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda folder, paths: paths[1:], "accuracy of tiny, mood, baseline: missing; run `lape accuracy` without"),
        (lambda folder, paths: paths[:2], "accuracy of tiny, mood, lape, nan: missing; run"),
        (lambda folder, paths: [*paths, paths[1]], "accuracy of tiny, mood, lape, no: comes twice; pass each"),
        (
            lambda folder, paths: [paths[0], paths[1], setting(folder, "lape", "nan", (1, 1), questions=8)],
            "other questions, languages or score than",
        ),
        (
            lambda folder, paths: [paths[0], paths[1], setting(folder, "lape", "nan", (1, 1), score="bytes")],
            "other questions, languages or score than",
        ),
    ],
)
def test_refusals(tmp_path, change, fault):
    with pytest.raises(LapeError) as caught:
        rows(change(tmp_path, settings(tmp_path)))
    assert fault in str(caught.value) and "; " in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_of_choices_that_is_damaged_is_refused(tmp_path):
    paths = settings(tmp_path)
    table = paths[0].with_suffix(".tsv")
    table.write_text(table.read_text().replace("loglik", "lost"))
    with pytest.raises(LapeError, match="is not the file that"):
        rows(paths)
    header = json.loads(paths[0].read_text()) | {"outputs": {table.name: sha256(table)}}
    paths[0].write_text(json.dumps(header))
    with pytest.raises(LapeError, match="is not a table of choices"):
        rows(paths)
