"""Figures: drawn from the CSV alone, the same bytes twice, at every size."""

import json
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest

from lape.artifact import sha256
from lape.cli import main
from lape.figures import draw, save
from lape.tables import perplexity

SUFFIXES = (".pdf", ".svg", ".png")


def change_table(languages, models=("tiny",)):
    """Strong diagonal, weak elsewhere, a random row below zero."""
    rows = []
    for model in models:
        for deactivated in [*languages, "random"]:
            for place, evaluated in enumerate(languages):
                base = 2.5 + 0.01 * place
                change = 2.0 if deactivated == evaluated else -0.001 if deactivated == "random" else 0.05
                nll = base + change
                method = "random" if deactivated == "random" else "lape"
                cells = [model, method, deactivated, evaluated, 100, nll, math.exp(nll), 1.0, base, math.exp(base)]
                rows.append(cells)
    columns = "model method deactivated evaluated tokens nll ppl bits_per_byte baseline_nll baseline_ppl"
    return pd.DataFrame(rows, columns=columns.split())


def layer_table(languages, layers, models=("tiny",)):
    """More neurons in the last layers."""
    rows = [
        [model, "random" if language == "random" else "lape", language, layer, max(0, layer - layers // 2)]
        for model in models
        for language in languages
        for layer in range(1, layers + 1)
    ]
    return pd.DataFrame(rows, columns=["model", "method", "language", "layer", "neurons"])


def codes(number):
    return [f"l{place}" for place in range(number)]


TABLES = {
    "figure2": change_table(["en", "no", "nan"], ["a", "b"]),
    "figure2_log_ratio": change_table(["en", "no", "nan"]),
    "figure5": layer_table(["en", "no", "nan", "random"], 6),
}


@pytest.mark.parametrize("item", TABLES)
def test_command_writes_three_formats_and_the_same_bytes_twice(tmp_path, item):
    table = tmp_path / "table.csv"
    TABLES[item].to_csv(table, index=False)
    output = tmp_path / "figures" / f"{item}.pdf"
    found = []
    for _ in range(2):
        assert main(["figure", item, str(table), "--output", str(output)]) == 0
        found.append({path.name: path.read_bytes() for path in output.parent.iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == {f"{item}{suffix}" for suffix in (*SUFFIXES, ".json")}
    assert found[0][f"{item}.pdf"].startswith(b"%PDF")
    assert found[0][f"{item}.png"].startswith(b"\x89PNG")
    # Text is text, and no code was taken for a missing value.
    svg = found[0][f"{item}.svg"].decode()
    assert all(f">{code}" in svg for code in ("en", "no", "nan", "random"))

    header = json.loads(found[0][f"{item}.json"])
    assert (header["artifact"], header["item"]) == ("figure", item)
    assert header["inputs"] == {str(table): sha256(table)}
    assert set(header["outputs"]) == {f"{item}{suffix}" for suffix in SUFFIXES}


def test_files_do_not_depend_on_the_users_matplotlib_settings(tmp_path):
    plain = save(draw("figure5", TABLES["figure5"]), tmp_path / "a.pdf")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path", "savefig.dpi": 30}):
        changed = save(draw("figure5", TABLES["figure5"]), tmp_path / "b.pdf")
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in changed]


def test_cells_show_the_matrix_with_the_control_last():
    frame = TABLES["figure2_log_ratio"]
    axis = draw("figure2_log_ratio", frame).axes[0]
    shown = [text.get_text() for text in axis.texts]
    assert shown == ["2.00", "0.05", "0.05", "0.05", "2.00", "0.05", "0.05", "0.05", "2.00", "0.00", "0.00", "0.00"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["en", "no", "nan", "random"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["en", "no", "nan"]
    # The first row is the top one, the control lies below a gap.
    ticks = axis.get_yticks()
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    assert ticks[3] - ticks[2] > ticks[2] - ticks[1]
    languages, control = axis.collections
    np.testing.assert_allclose(np.diag(languages.get_array()), 2.0)
    np.testing.assert_allclose(control.get_array(), -0.001)


def test_log_ratio_is_the_logarithm_of_the_ratio_of_perplexities():
    frame = TABLES["figure2_log_ratio"]
    expected = np.log(frame["ppl"] / frame["baseline_ppl"])
    drawn = np.concatenate([mesh.get_array() for mesh in draw("figure2_log_ratio", frame).axes[0].collections])
    np.testing.assert_allclose(drawn, perplexity.matrix(frame, expected).to_numpy(), atol=1e-12)


def test_models_share_one_scale_that_shows_small_and_large():
    frame = change_table(["en", "fr"], ["a", "b"])
    frame.loc[0, "ppl"] += 50_000
    figure = draw("figure2", frame)
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert [axis.get_title() for axis in panels] == ["a", "b"]
    norms = [mesh.norm for axis in panels for mesh in axis.collections]
    assert all(norm is norms[0] for norm in norms)
    shades = norms[0]([0.0, 1.0, 10.0, 50_000.0])
    assert np.all(np.diff(shades) > 0.1)
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "1", "10", "100", "1000", "10000"]


def test_noise_does_not_look_like_an_effect():
    frame = change_table(["en", "fr"])
    frame["nll"], frame["ppl"] = frame["baseline_nll"] + 0.001, frame["baseline_ppl"] + 0.01
    for item in ("figure2", "figure2_log_ratio"):
        mesh = draw(item, frame).axes[0].collections[0]
        assert mesh.norm(mesh.get_array()).max() < 0.05


def test_figure5_bars_are_the_counts_from_layer_one():
    frame = layer_table(["en", "fr", "random"], 6, ["a", "b"])
    frame.loc[0, "neurons"] = 9
    figure = draw("figure5", frame)
    assert len(figure.axes) == 6
    values, edges, _ = figure.axes[0].patches[0].get_data()
    assert values.tolist() == [9, 0, 0, 1, 2, 3]
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert figure.axes[0].get_title() == "en: 15 neurons"
    assert figure.axes[0].get_xticks()[0] == 1
    # One scale within a model, and the control in another shade.
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim() != figure.axes[3].get_ylim()
    assert figure.axes[2].patches[0].get_facecolor() != figure.axes[0].patches[0].get_facecolor()


@pytest.mark.parametrize(("languages", "models"), [(2, 1), (40, 1), (100, 1), (3, 10)])
def test_figure2_scales(tmp_path, languages, models):
    figure = draw("figure2", change_table(codes(languages), codes(models)))
    figure.savefig(tmp_path / "figure2.png", dpi=40)
    assert len(figure.axes) == models + 1
    # Numbers stand in the cells as long as they can be read.
    assert bool(figure.axes[0].texts) == (languages <= 20)


@pytest.mark.parametrize(("languages", "layers", "models"), [(2, 1, 1), (40, 24, 1), (3, 80, 3)])
def test_figure5_scales(tmp_path, languages, layers, models):
    figure = draw("figure5", layer_table(codes(languages), layers, codes(models)))
    figure.savefig(tmp_path / "figure5.png", dpi=40)
    assert len(figure.axes) == languages * models


def test_another_items_table_and_another_suffix_are_refused(tmp_path, capsys):
    table = tmp_path / "figure5.csv"
    TABLES["figure5"].to_csv(table, index=False)
    assert main(["figure", "figure2", str(table), "--output", str(tmp_path / "figure2.pdf")]) == 1
    assert "has no column 'deactivated'" in capsys.readouterr().err
    assert main(["figure", "figure5", str(table), "--output", str(tmp_path / "figure5.png")]) == 1
    assert "ends in .pdf" in capsys.readouterr().err
    assert not (tmp_path / "figure5.json").exists()
