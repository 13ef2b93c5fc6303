"""Agreement of selections: against Python's sets, and chance against every draw there is."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest

from lape.errors import LapeError
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.model.sites import Sites
from lape.neurons.agreement import ALL, jaccard, jaccard_by_chance, members, overlap
from lape.neurons.table import Neurons

LANGUAGES = ["no", "nan"]
# (layer, index) -> languages, of each method.
OWNERS = {
    "lape": {(0, 3): "no", (0, 5): "no,nan", (3, 1): "nan", (3, 2): "nan"},
    "lap": {(0, 3): "nan", (0, 5): "no", (2, 7): "no"},
    "random": {(1, 1): "no"},
}


def neurons_header(folder, method, owners, model="tiny", sets=LANGUAGES, layers=4):
    stem = folder / f"{model}-{method}"
    lines = ["layer\tindex\tlanguages", *(f"{a}\t{b}\t{names}" for (a, b), names in sorted(owners.items()))]
    stem.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    counts = {name: sum(name in names.split(",") for names in owners.values()) for name in sets}
    header = {"artifact": "neurons", "model": model, "method": method, "languages": sets, "sets": sets}
    stem.with_suffix(".json").write_text(
        json.dumps({**header, "layers": layers, "neurons_per_layer": 8, "counts": counts})
    )
    return stem.with_suffix(".json")


def own(method: str, language: str) -> set:
    return {place for place, names in OWNERS[method].items() if language == ALL or language in names.split(",")}


def test_members_are_every_neurons_sets_with_the_experts_places():
    table = pd.DataFrame({"layer": [0, 1], "expert": [1, 0], "index": [2, 3], "languages": [("fr",), ("en", "fr")]})
    found = members(Neurons(table, ("en", "fr"), Sites.rectangle(2, 8, experts=2)))
    expected = np.zeros((3, 16), bool)
    expected[[0, 2], 6] = True  # expert 1 begins at place 4
    expected[:, 11] = True
    np.testing.assert_array_equal(found, expected)


def test_indices_of_two_sets():
    a, b = {1, 2, 3, 4}, {3, 4, 5, 6, 7, 8}
    sizes = len(a), len(b), len(a & b)
    assert jaccard(*sizes) == len(a & b) / len(a | b)
    assert overlap(*sizes) == (len(a) * 0.5 + len(b) * (2 / 6)) / (len(a) + len(b))
    assert math.isnan(jaccard(0, 0, 0)) and math.isnan(overlap(0, 0, 0)) and jaccard(0, 3, 0) == 0


@pytest.mark.parametrize(("first", "second"), [(2, 3), (1, 1), (4, 4), (0, 2), (6, 5)])
def test_chance_is_the_mean_over_all_pairs_of_sets(first, second):
    pairs = itertools.product(itertools.combinations(range(6), first), itertools.combinations(range(6), second))
    every = [len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in pairs]
    assert jaccard_by_chance(6, first, second) == pytest.approx(np.mean(every))


def test_chance_at_the_size_of_a_large_model():
    # Two sets of 1% share 1% of theirs: 1 of 199.
    assert jaccard_by_chance(2_293_760, 22_938, 22_938) == pytest.approx(1 / 199, rel=1e-3)
    assert math.isnan(jaccard_by_chance(100, 0, 0))


def test_table_has_every_pair_of_methods_and_language(tmp_path):
    paths = [neurons_header(tmp_path, method, owners) for method, owners in OWNERS.items()]
    frame = TABLES["agreement"].rows(paths)
    assert [*frame["method"].unique()] == [*OWNERS] and len(frame) == 9 * 3
    for row in frame.itertuples():
        a, b = own(row.method, row.language), own(row.other, row.language)
        assert (row.neurons, row.other_neurons, row.shared) == (len(a), len(b), len(a & b))
        if a | b:
            assert row.jaccard == len(a & b) / len(a | b)
            assert row.expected == pytest.approx(jaccard_by_chance(32, len(a), len(b)))
        else:
            assert math.isnan(row.jaccard) and math.isnan(row.expected)
    matrix, pairs = TABLES["agreement"].sections(frame)
    assert matrix.cells.loc["lape", "lap"] == f"0.40 ({jaccard_by_chance(32, 4, 3):.2f})"
    assert list(pairs.cells.index) == ["lape, lap", "lape, random", "lap, random"]
    assert pairs.cells.loc["lape, lap", "nan"].startswith("0.00")


def test_languages_are_known_by_name_and_models_kept_apart(tmp_path):
    paths = [neurons_header(tmp_path, "lape", OWNERS["lape"])]
    paths.append(neurons_header(tmp_path, "lave", OWNERS["lape"], sets=LANGUAGES[::-1]))
    paths.append(neurons_header(tmp_path, "lape", OWNERS["lap"], model="other"))
    frame = TABLES["agreement"].rows(paths)
    assert set(frame["jaccard"]) == {1.0}
    assert frame.groupby("model", sort=False).size().to_dict() == {"tiny": 12, "other": 3}


def test_methods_that_cannot_be_compared_are_refused(tmp_path):
    path = neurons_header(tmp_path, "lape", OWNERS["lape"])
    for other in (
        neurons_header(tmp_path, "lap", {}, sets=["no", "fr"]),
        neurons_header(tmp_path, "lave", {}, layers=5),
    ):
        with pytest.raises(LapeError, match="other languages or another shape"):
            TABLES["agreement"].rows([path, other])
    with pytest.raises(LapeError, match="second set of tiny lape"):
        TABLES["agreement"].rows([path, path])


@pytest.mark.parametrize("models", [1, 5])
def test_figure_shows_the_index_of_all_languages_on_one_scale(tmp_path, models):
    paths = [
        neurons_header(tmp_path, method, owners, model=f"m{number}")
        for number in range(models)
        for method, owners in OWNERS.items()
    ]
    figure = draw("agreement", TABLES["agreement"].rows(paths))
    *panels, _ = figure.axes
    assert len(panels) == models
    for axis in panels:
        assert [text.get_text() for text in axis.texts] == "1.00 0.40 0.00 0.40 1.00 0.00 0.00 0.00 1.00".split()
        assert (axis.collections[0].norm.vmin, axis.collections[0].norm.vmax) == (0, 1)
        assert [label.get_text() for label in axis.get_yticklabels()] == ["LAPE", "LAP", "random (RS)"]
