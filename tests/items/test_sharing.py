"""Neurons that languages share, and Table 7: exact numbers from small artifacts, and their figures."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from neuron_artifacts import neurons_header
from scipy import stats

from lape.cli import main
from lape.items.figures import draw
from lape.items.neurons.pretraining import rank_correlation
from lape.items.registry import FIGURES, TABLES
from lape.items.tables import read

SETS = ["en", "no", "nan"]
# en has nothing; no and nan share one of 4 and 2.
OWNERS = {(0, 1): "no", (0, 2): "no", (1, 1): "no,nan", (2, 7): "no", (3, 0): "nan"}


def test_sharing_is_the_part_of_each_languages_own_neurons(tmp_path):
    frame = TABLES["sharing"].rows([neurons_header(tmp_path, "tiny", OWNERS, sets=SETS)])
    assert list(frame.columns) == ["model", "method", "language", "other", "neurons", "shared", "share"]
    found = {(row.language, row.other): (row.neurons, row.shared, row.share) for row in frame.itertuples()}
    assert len(found) == 9
    assert found["no", "nan"] == (4, 1, 0.25)
    assert found["nan", "no"] == (2, 1, 0.5)
    assert found["no", "no"] == (4, 4, 1.0)
    assert found["no", "en"] == (4, 0, 0.0)
    # A language without neurons shares no part of them.
    assert found["en", "no"][:2] == (0, 0) and np.isnan(found["en", "no"][2])
    (section,) = TABLES["sharing"].sections(frame)
    assert section.cells.loc["nan"].to_list() == ["2", "0.00", "0.50", "1.00"]
    assert section.cells.loc["en"].to_list() == ["0", "", "", ""]


def test_the_histogram_counts_every_neuron_once(tmp_path):
    paths = [
        neurons_header(tmp_path, "tiny", {**OWNERS, (3, 5): "en,no,nan"}, sets=SETS),
        neurons_header(tmp_path, "empty", {}, method="lap", sets=SETS[:2]),
    ]
    frame = TABLES["sharing_histogram"].rows(paths)
    assert list(frame.columns) == ["model", "method", "languages", "neurons", "share"]
    assert frame["languages"].tolist() == [1, 2, 3, 1, 2]
    assert frame["neurons"].tolist() == [4, 1, 1, 0, 0]
    assert frame["share"].tolist()[:3] == [4 / 6, 1 / 6, 1 / 6]
    assert frame["share"].isna().tolist() == [False] * 3 + [True] * 2
    (section,) = TABLES["sharing_histogram"].sections(frame)
    assert section.cells.to_numpy().tolist() == [["4 (66.7%)", "1 (16.7%)", "1 (16.7%)"], ["0", "0", ""]]
    assert section.cells.index.tolist() == ["tiny", "empty, lap"]


def test_pretraining_shares_sets_given_shares_beside_measured_neurons(tmp_path):
    owners = {(0, place): "en" for place in range(1)} | {(1, place): "fr" for place in range(3)}
    owners |= {(2, place): "id" for place in range(2)} | {(3, 0): "sv"}
    frame = TABLES["pretraining_shares"].rows([neurons_header(tmp_path, "tiny", owners, sets=["en", "fr", "id", "sv"])])
    columns = ["language", "neurons", "corpus", "share_percent"]
    assert frame[columns].to_numpy().tolist() == [
        ["en", 1, "LLaMA-2", 89.7],
        ["en", 1, "BLOOM", 33.68],
        ["fr", 3, "LLaMA-2", 0.16],
        ["fr", 3, "BLOOM", 14.46],
        ["id", 2, "LLaMA-2", 0.03],
        ["id", 2, "BLOOM", 1.39],
    ]
    # Ranks 3 2 1 against 1 3 2: 1 - 6 (4 + 1 + 1) / (3 * 8).
    np.testing.assert_allclose(frame["spearman"], -0.5)
    np.testing.assert_allclose(frame["p_value"], 1.0)
    assert set(frame["n"]) == {3}
    (section,) = TABLES["pretraining_shares"].sections(frame)
    assert "n = 3" in section.title
    assert section.cells.iloc[-1].to_list() == ["\N{MINUS SIGN}0.50 (p 1.00)", "\N{MINUS SIGN}0.50 (p 1.00)", ""]
    assert section.cells.loc["fr"].to_list() == ["0.16", "14.46", "3"]


def test_pretraining_shares_without_its_languages_or_with_equal_counts_says_nothing(tmp_path):
    equal = TABLES["pretraining_shares"].rows([neurons_header(tmp_path, "tiny", {(0, 0): "en,fr"}, sets=["en", "fr"])])
    assert equal["spearman"].isna().all() and equal["p_value"].isna().all() and set(equal["n"]) == {2}
    assert TABLES["pretraining_shares"].sections(equal)[0].cells.iloc[-1, 0] == "undefined"
    strange = TABLES["pretraining_shares"].rows([neurons_header(tmp_path, "tiny", {(0, 0): "sv"}, sets=["sv", "de"])])
    assert strange.empty and TABLES["pretraining_shares"].sections(strange) == []
    output = tmp_path / "pretraining_shares.csv"
    assert main(["table", "pretraining_shares", str(tmp_path / "tiny-lape.json"), "--output", str(output)]) == 0
    assert output.read_text().startswith("model,method,language,neurons,corpus,share_percent,spearman,p_value,n")


@pytest.mark.parametrize("shares", [[89.7, 0.13, 0.16, 0.13, 0.08, 0.03], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])
def test_rank_correlation_and_its_p_value_by_counting_all_pairings(shares):
    neurons = [445, 653, 680, 918, 551, 2823]
    found = rank_correlation(shares, neurons)
    x, y = stats.rankdata(shares), stats.rankdata(neurons)
    every = np.array([np.corrcoef(x, order)[0, 1] for order in itertools.permutations(y)])
    own = np.corrcoef(x, y)[0, 1]
    tails = (every <= own + 1e-12).mean(), (every >= own - 1e-12).mean()
    np.testing.assert_allclose(found["spearman"], own)
    np.testing.assert_allclose(found["p_value"], min(1, 2 * min(tails)))
    assert found["n"] == 6


@pytest.mark.parametrize("item", ["sharing", "sharing_histogram"])
def test_figures_are_drawn_from_the_csv_with_every_model(tmp_path, item):
    paths = [
        neurons_header(tmp_path, "tiny", OWNERS, sets=SETS),
        neurons_header(tmp_path, "other", {(0, 0): "no"}, method="lap", sets=SETS[:2]),
    ]
    table, output = tmp_path / f"{item}.csv", tmp_path / "figures" / f"{item}.pdf"
    assert main(["table", item, *map(str, paths), "--output", str(table)]) == 0
    frame = read(table, FIGURES[item].columns)
    pd.testing.assert_frame_equal(frame, TABLES[item].rows(paths), check_exact=True)
    found = []
    for _ in range(2):
        assert main(["figure", item, str(table), "--output", str(output)]) == 0
        found.append({suffix: output.with_suffix(suffix).read_bytes() for suffix in (".pdf", ".svg", ".png", ".json")})
    assert found[0] == found[1]
    svg = found[0][".svg"].decode()
    expected = {"sharing": [">0.50<", ">no (4)<", ">en (0)<"], "sharing_histogram": [">80%<", ">20%<"]}[item]
    assert all(text in svg for text in [*expected, ">other, lap"])
    header = json.loads(found[0][".json"])
    assert header["models"] == ["tiny", "other"]


def test_the_heatmap_leaves_the_diagonal_and_empty_languages_blank(tmp_path):
    figure = draw("sharing", TABLES["sharing"].rows([neurons_header(tmp_path, "tiny", OWNERS, sets=SETS)]))
    axis = figure.axes[0]
    assert sorted(text.get_text() for text in axis.texts) == ["0.00", "0.00", "0.25", "0.50"]
    assert axis.collections[0].norm.vmax == 0.5


@pytest.mark.parametrize("languages", [2, 30])
def test_any_number_of_languages_and_models(tmp_path, languages):
    names = [f"l{place}" for place in range(languages)]
    owners = {(0, place % 8): ",".join(names[: place + 1]) for place in range(min(languages, 8))}
    paths = [neurons_header(tmp_path, model, owners, sets=names) for model in "abcd"]
    for item, panels in (("sharing", 4 + 1), ("sharing_histogram", 4)):
        figure = draw(item, TABLES[item].rows(paths))
        assert len(figure.axes) == panels
        figure.savefig(tmp_path / "figure.svg")
