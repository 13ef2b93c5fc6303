"""Neurons as a notebook handles them: parts, overlap, files under either name, and what they show of themselves."""

import json
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.interventions.steering import SteeringValues, steering_values
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

TABLE = pd.DataFrame(
    {
        "layer": [0, 0, 2, 2],
        "index": [1, 5, 0, 31],
        "entropy": [0.1, 0.25, 1 / 3, 0.5],
        "languages": [("fr",), ("fr", "en"), ("en",), ("fr",)],
    }
)
NEURONS = Neurons(TABLE, ("en", "fr", "ja"), Sites.rectangle(3, 32), {"threshold": 0.5})


def test_a_selection_is_asked_by_language():
    assert len(NEURONS) == 4 and list(NEURONS) == ["en", "fr", "ja"]
    assert "fr" in NEURONS and "de" not in NEURONS
    assert NEURONS["ja"] and not len(NEURONS["ja"])
    french = NEURONS["fr"]
    assert french.sets == ("fr",) and french.counts() == {"fr": 3}
    assert {layer: index.tolist() for layer, index in french.indices("fr").items()} == {0: [1, 5], 2: [31]}
    both = NEURONS[["fr", "en"]]
    assert both.counts() == {"fr": 3, "en": 2} and len(both) == 4
    with pytest.raises(LapeError, match="no set 'de'; there are en, fr, ja"):
        NEURONS["de"]


def test_overlap_counts_what_two_selections_share():
    other = replace(NEURONS, table=TABLE.iloc[1:].reset_index(drop=True), sets=("fr", "ja", "en"))
    rows = NEURONS.overlap(other)
    assert rows.index.tolist() == ["en", "fr", "ja"]
    assert rows.loc["fr"].tolist() == [2, 0 + 1, 0, pytest.approx(2 / 3)]
    assert rows.loc["en", "Jaccard"] == 1 and np.isnan(rows.loc["ja", "Jaccard"])
    with pytest.raises(LapeError, match="compare neurons of one model"):
        NEURONS.overlap(replace(NEURONS, sites=Sites.rectangle(3, 33)))
    with pytest.raises(LapeError, match="compare neurons of the same languages"):
        NEURONS["fr"].overlap(NEURONS["en"])


@pytest.mark.parametrize("saved", ["mine.tsv", "mine.json"])
@pytest.mark.parametrize("loaded", ["mine.tsv", "mine.json"])
def test_files_come_back_under_either_name(tmp_path, saved, loaded):
    NEURONS.save(tmp_path / saved, model="tiny")
    again = Neurons.load(tmp_path / loaded)
    pd.testing.assert_frame_equal(again.table, TABLE)
    assert (again.sets, again.sites) == (NEURONS.sets, NEURONS.sites)
    assert again.summary["threshold"] == 0.5 and again.summary["model"] == "tiny"
    again["fr"].save(tmp_path / "part.tsv")
    header = read_json(tmp_path / "part.json", "neurons")
    assert (header["sets"], header["counts"], header["model"]) == (["fr"], {"fr": 3}, "tiny")
    assert list(header["outputs"]) == ["part.tsv"]
    assert Neurons.load(tmp_path / "part.tsv").counts() == {"fr": 3}


def test_what_is_no_file_of_neurons_is_told_which_to_pass(tmp_path):
    with pytest.raises(
        LapeError, match=r"a.pth: no name of neurons; pass a .tsv file or the .json header .*read_neurons"
    ):
        Neurons.load(tmp_path / "a.pth")
    with pytest.raises(LapeError, match=r"mine: no name of neurons; pass a .tsv"):
        NEURONS.save(tmp_path / "mine")
    (tmp_path / "a.tsv").write_text("layer\n")
    with pytest.raises(LapeError, match=r"a.json: cannot be read"):
        Neurons.load(tmp_path / "a.tsv")
    with pytest.raises(LapeError, match="is called 'old french'; use letters"):
        Neurons(TABLE.iloc[:0], ("old french",), NEURONS.sites).save(tmp_path / "b.tsv")
    assert not (tmp_path / "b.tsv").exists()


def test_statistics_and_steering_values_come_back_under_either_name(tmp_path):
    counts = np.arange(96).reshape(3, 32)
    statistics = {name: ActivationStatistics.of_counts(counts, 200) for name in NEURONS.sets}
    values = steering_values(NEURONS, statistics)
    values.save(tmp_path / "values.json")
    for name in ("values.tsv", "values.json"):
        again = SteeringValues.load(tmp_path / name)
        pd.testing.assert_frame_equal(again.table, values.table)
        assert (again.sets, again.sites) == (values.sets, values.sites)
    statistics["fr"].save(tmp_path / "fr.npz")
    assert (ActivationStatistics.load(tmp_path / "fr.npz").count == counts).all()
    for load in (ActivationStatistics.load, SteeringValues.load):
        with pytest.raises(LapeError, match=r"or the .json header beside it"):
            load(tmp_path / "a.txt")


def test_each_shows_what_it_is():
    text, html = repr(NEURONS), NEURONS._repr_html_()
    title, heading, *rows = text.splitlines()
    assert title == "4 neurons (4.17%) of 3 layers x 32 neurons"
    assert heading.split("  ")[1:3] == ["language", "neurons"]
    assert rows[1].split() == ["fr", "3", "1,", "3", "█·▄"] and rows[2].split() == ["ja", "0", "···"]
    assert html.count("<tr>") == 4 and html.count("<svg") == 3 and "layer 3 (index 2): 1" in html
    counts = np.full((3, 32), 10)
    statistics = dict.fromkeys(NEURONS.sets, ActivationStatistics.of_counts(counts, 40))
    assert "of 40 tokens on 3 layers x 32 neurons" in repr(statistics["fr"]) and "25.0%" in repr(statistics["fr"])
    values = steering_values(NEURONS, statistics)
    assert repr(values).startswith("steering values: mean activations of 5 neurons") and "<svg" in values._repr_html_()


def test_a_plot_has_a_panel_per_language(monkeypatch):
    matplotlib.use("agg")
    axes = NEURONS.plot()
    assert [axis.get_title() for axis in axes] == ["en: 2 neurons", "fr: 3 neurons", "ja: 0 neurons"]
    assert [bar.get_height() for bar in axes[1].patches] == [2, 0, 1]
    matplotlib.pyplot.close(axes[0].figure)


def test_names_of_a_table_are_escaped_in_html():
    assert "<script>" not in replace(NEURONS, sets=("<script>", "fr", "ja"))._repr_html_()


def test_a_loaded_header_is_whole_after_another_save(tmp_path):
    NEURONS.save(tmp_path / "a.tsv", method="lape", parameters={"ratio": 0.01})
    Neurons.load(tmp_path / "a.tsv").save(tmp_path / "b.tsv")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first.keys() == second.keys() and second["parameters"] == {"ratio": 0.01}
    differing = {key for key in first if first[key] != second[key]}
    assert differing <= {"outputs"}
