"""Figures: drawn from the CSV alone, the same bytes twice, at every size."""

import itertools
import json
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from drawings import SUFFIXES, assert_legible_in_a_column, drawn_twice

from lape.cli import main
from lape.items.drawing.lines import apart
from lape.items.drawing.style import save
from lape.items.figures import draw


def change_table(languages, models=("tiny",), methods=("lape", "active_lape")):
    """Strong diagonal, weak elsewhere, little in a control, which the diagonal alone differs from."""
    rows = []
    for model in models:
        for method in methods:
            for deactivated in languages:
                for place, evaluated in enumerate(languages):
                    control = method.startswith(("active_", "matched_")) or method == "random"
                    nll = -0.001 if control else 2.0 if deactivated == evaluated else 0.05
                    ppl = math.exp(2.5 + 0.01 * place) * (math.exp(nll) - 1)
                    p_holm = math.nan if control else 0.01 if deactivated == evaluated else 0.2
                    rows.append([model, method, deactivated, evaluated, 3 + nll, 3.0, ppl, nll, nll / 3, p_holm])
    columns = "model method deactivated evaluated nll control_nll ppl_change nll_change bits_change p_holm"
    return pd.DataFrame(rows, columns=columns.split())


def sweep_table(languages, models=("tiny",), ratios=(0, 0.01, 0.1)):
    """The last language is deactivated; the more it suffers, the more neurons are selected."""
    rows = [
        [model, languages[-1], ratio, evaluated, change, 0.8 * change, 1.3 * change]
        for model in models
        for ratio in ratios
        for place, evaluated in enumerate(languages)
        for change in [ratio * (5000 if evaluated == languages[-1] else 20 + place)]
    ]
    columns = "model deactivated ratio evaluated ppl_change ppl_change_low ppl_change_high"
    return pd.DataFrame(rows, columns=columns.split())


def draws_table(languages, models=("tiny",)):
    """Each language suffers more under its own set than under the draws, but for the first."""
    rows = [
        [model, method, language, 20, 1.0 + place, 0.5 + place / 2, 0.2, 1.2]
        for model in models
        for method in ("lape", "pv")
        for place, language in enumerate(languages)
    ]
    columns = "model method language draws rise control_rise control_low control_high"
    return pd.DataFrame(rows, columns=columns.split())


def steps_table(languages, models=("tiny",)):
    """Each language suffers more with every step, the others less than it, and less under the control."""
    rows = [
        [model, method, steps, language, own, own - 0.1, own + 0.1, own / 2, own / 2 - 0.1, own / 2 + 0.1]
        for model in models
        for method, counts in (("pv", (3, 6, 12)), ("active_pv", (12,)))
        for steps in counts
        for place, language in enumerate([*languages, ""])
        for own in [(steps / 6 + place / 4) / (1 if method == "pv" else 5)]
    ]
    columns = "model method steps deactivated own own_low own_high others others_low others_high"
    return pd.DataFrame(rows, columns=columns.split())


def layer_table(languages, layers, models=("tiny",)):
    """More neurons in the last layers."""
    rows = [
        [model, "lape", language, layer, max(0, layer - layers // 2)]
        for model in models
        for language in languages
        for layer in range(1, layers + 1)
    ]
    return pd.DataFrame(rows, columns=["model", "method", "language", "layer", "ours"])


def codes(number):
    return [f"l{place}" for place in range(number)]


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


LANGUAGES = ["en", "no", "nan"]
METHODS = [f"{control}{method}" for control in ("", "matched_") for method in ("lape", "lap", "lave", "pv")]
TABLES = {
    "deactivation_matrix": change_table(LANGUAGES),
    "deactivation_log_ratio": change_table(LANGUAGES),
    "deactivation_by_method": change_table(LANGUAGES, methods=["lape", "pv", "active_pv"]),
    "deactivation_by_model": change_table(LANGUAGES),
    "deactivation_by_ratio": sweep_table(LANGUAGES),
    "neurons_per_layer": layer_table(LANGUAGES, 6),
    "deactivation_random": change_table(LANGUAGES, methods=["random", "active_lape"]),
    "control_draws": draws_table(LANGUAGES),
    "pv_learning_curve": steps_table(LANGUAGES),
}


@pytest.mark.parametrize("item", TABLES)
def test_command_writes_three_formats_and_the_same_bytes_twice(tmp_path, item):
    found = drawn_twice(tmp_path, item, TABLES[item])
    assert_legible_in_a_column(item, TABLES[item])
    assert found[f"{item}.pdf"].startswith(b"%PDF")
    assert found[f"{item}.png"].startswith(b"\x89PNG")
    # Text is text, and no code was taken for a missing value.
    svg = found[f"{item}.svg"].decode()
    assert all(f">{code}" in svg for code in LANGUAGES)

    header = json.loads(found[f"{item}.json"])
    assert (header["artifact"], header["item"]) == ("figure", item)
    assert set(header["outputs"]) == {f"{item}{suffix}" for suffix in SUFFIXES}


def test_draws_are_a_band_and_the_set_a_circle():
    figure = draw("control_draws", draws_table(LANGUAGES, ["a"]))
    assert titles(figure) == ["a, LAPE", "a, PV"]
    for axis in figure.axes:
        assert [(bar.get_y(), bar.get_height()) for bar in axis.patches] == [(0.2, 1.0)] * 3
        (circles,) = [line for line in axis.lines if line.get_marker() == "o"]
        assert circles.get_ydata().tolist() == [1, 2, 3]


def test_methods_at_equal_effect_are_points_beside_the_curve_of_lape():
    rows = [
        ("lape", 0.01, 1.0, 0.1),
        ("lape", 0.05, 3.0, 0.9),
        ("lave", 0.01, 2.0, 0.1),
        ("active_lape", None, 0.5, 0.4),
    ]
    frame = pd.DataFrame(rows, columns=["method", "ratio", "own", "others"]).assign(model="a", deactivated="fr")
    assert_legible_in_a_column("equal_effect", frame)
    figure = draw("equal_effect", frame)
    (axis,) = figure.axes
    curve, *points = axis.lines
    assert curve.get_xdata()[::50].tolist() == [0, 1, 3] and [text.get_text() for text in axis.texts] == ["1%", "5%"]
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, True]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["LAPE at several ratios", "LAVE", "activity-matched control"]


def test_neurons_per_layer_keeps_methods_apart():
    frame = TABLES["neurons_per_layer"]
    one = draw("neurons_per_layer", frame)
    both = draw("layers_by_method", pd.concat([frame, frame.assign(method="lap", ours=frame["ours"] + 1)]))
    assert [part.get_suptitle() for part in one.subfigs] == list(frame["model"].unique())
    assert [part.get_suptitle() for part in both.subfigs] == [
        f"{model}, {method}" for model in frame["model"].unique() for method in ("LAPE", "LAP")
    ]
    panels = [sum(len(part.axes) for part in figure.subfigs) for figure in (one, both)]
    assert panels[1] == 2 * panels[0]


def test_files_do_not_depend_on_the_users_matplotlib_settings(tmp_path):
    plain = save(draw("neurons_per_layer", TABLES["neurons_per_layer"]), tmp_path / "a.pdf")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path", "savefig.dpi": 30}):
        changed = save(draw("neurons_per_layer", TABLES["neurons_per_layer"]), tmp_path / "b.pdf")
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in changed]


def test_cells_show_the_matrix_beside_its_control_and_what_differs_in_bold():
    figure = draw("deactivation_log_ratio", TABLES["deactivation_log_ratio"])
    axis, control, _ = figure.axes
    assert titles(figure) == ["tiny, LAPE", "tiny, activity-matched control"]
    shown = [text.get_text() for text in axis.texts]
    assert shown == ["2.00", "0.05", "0.05", "0.05", "2.00", "0.05", "0.05", "0.05", "2.00"]
    bold = [text.get_fontweight() == "bold" for text in axis.texts]
    assert bold == [True, False, False, False, True, False, False, False, True]
    assert not any(text.get_fontweight() == "bold" for text in control.texts)
    assert [label.get_text() for label in axis.get_yticklabels()] == LANGUAGES
    assert [label.get_text() for label in axis.get_xticklabels()] == LANGUAGES
    # The first row is the top one.
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    (mesh,) = axis.collections
    np.testing.assert_allclose(mesh.get_array(), np.where(np.eye(3), 2.0, 0.05))


def test_deactivation_by_method_leaves_the_controls_out_and_puts_methods_side_by_side():
    frame = change_table(LANGUAGES, methods=METHODS)
    figure = draw("deactivation_by_method", frame)
    assert titles(figure) == ["tiny, LAPE", "tiny, LAP", "tiny, LAVE", "tiny, PV"]
    assert [axis.get_subplotspec().colspan.start for axis in figure.axes[:4]] == [0, 1, 2, 3]
    # A model a block of lines, also where a method is missing.
    figure = draw("deactivation_by_method", change_table(codes(7), ["a", "b"], ["lape", "lave", "pv"]))
    columns = [axis.get_subplotspec().colspan.start for axis in figure.axes[:-1]]
    assert titles(figure) == ["a, LAPE", "a, LAVE", "a, PV", "b, LAPE", "b, LAVE", "b, PV"]
    assert columns == [0, 1, 0, 0, 1, 0]


def test_deactivation_by_model_has_one_scale_for_each_measure():
    figure = draw("deactivation_by_model", change_table(LANGUAGES, ["a", "b"]))
    ppl_a, bits_a, ppl_b, bits_b, ppl_bar, bits_bar = figure.axes
    assert titles(figure) == ["a, LAPE", "a, LAPE", "b, LAPE", "b, LAPE"]
    assert ppl_a.collections[0].norm is ppl_b.collections[0].norm
    assert bits_a.collections[0].norm is bits_b.collections[0].norm
    np.testing.assert_allclose(np.diag(bits_b.collections[0].get_array()), 2 / 3)
    assert [bar.get_xlabel() for bar in (ppl_bar, bits_bar)] == ["PPL change", "change of bits per byte"]


def test_models_and_methods_share_one_scale_that_shows_small_and_large():
    frame = change_table(["en", "fr"], ["a", "b"], ["lape", "lap"])
    frame.loc[0, "ppl_change"] = 500_000
    figure = draw("deactivation_by_method", frame)
    panels, bar = figure.axes[:-1], figure.axes[-1]
    norms = [mesh.norm for axis in panels for mesh in axis.collections]
    assert len(norms) == 4 and all(norm is norms[0] for norm in norms)
    shades = norms[0]([0.0, 1.0, 10.0, 1000.0, 500_000.0])
    assert np.all(np.diff(shades) > 0.07)
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "1", "10", "100", "1000", "1e4", "1e5"]
    assert panels[0].texts[0].get_text() == "5.0e5"
    # One ruined model leaves the others their colours.
    frame.loc[0, "ppl_change"] = 1e30
    *panels, bar = draw("deactivation_by_method", frame).axes
    norm = panels[0].collections[0].norm
    assert norm([0.0, 1.0, 10.0, 1000.0]).tolist() == pytest.approx(shades[:4], abs=0.02)
    assert norm(1e30) == norm(1e6) == 1 and panels[0].texts[0].get_text() == "1.0e30"
    assert [label.get_text() for label in bar.get_yticklabels()][-1] == "1e6"


def test_noise_does_not_look_like_an_effect():
    frame = change_table(["en", "fr"])
    frame["nll_change"], frame["ppl_change"], frame["bits_change"] = 0.001, 0.01, 0.0005
    for item, most in (
        ("deactivation_matrix", 0.05),
        ("deactivation_log_ratio", 0.05),
        ("deactivation_by_model", 0.05),
        ("deactivation_random", 0.03),
    ):
        for axis in draw(item, frame).axes[:2]:
            mesh = axis.collections[0]
            assert mesh.norm(mesh.get_array()).max() < 0.5 + most  # 0 is the middle of the colours


def test_deactivation_random_draws_random_sets_on_the_scale_of_effects():
    figure = draw("deactivation_random", TABLES["deactivation_random"])
    assert titles(figure) == ["tiny, random (RS)", "tiny, activity-matched control"]
    assert figure.axes[0].collections[0].norm.vmax == 100


def test_deactivation_by_ratio_names_each_line_at_its_end_and_bands_its_interval():
    figure = draw("deactivation_by_ratio", TABLES["deactivation_by_ratio"])
    (axis,) = figure.axes
    figure.canvas.draw()
    lines = [line for line in axis.get_lines() if len(line.get_xdata()) == 3]
    assert [line.get_xdata().tolist() for line in lines] == [[0, 1, 10]] * 3
    assert lines[2].get_ydata().tolist() == [0, 50, 500]
    bold, *others = sorted(lines, key=lambda line: -line.get_linewidth())
    assert bold is lines[2] and bold.get_color() not in {line.get_color() for line in others}
    names = {text.get_text(): text for text in axis.texts}
    assert set(names) == set(LANGUAGES)
    assert [name for name, text in names.items() if text.get_fontweight() == "bold"] == ["nan"]
    assert [names[name].get_color() for name in LANGUAGES] == [line.get_color() for line in lines]
    # 2 and 2.1 end at the same height: their names do not overlap, and stand in the order of the lines.
    boxes = [names[name].get_window_extent() for name in ("en", "no", "nan")]
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    band = axis.collections[2].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(650) and 400 in band[:, 1].round(6)


def test_names_are_moved_apart_as_little_as_needed():
    np.testing.assert_allclose(apart(np.array([0.1, 0.5, 0.9]), 0.1), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(apart(np.array([0.5, 0.5, 0.9]), 0.1), [0.45, 0.55, 0.9])
    # A pair that is moved apart touches the next, which joins it.
    np.testing.assert_allclose(apart(np.array([0.5, 0.5, 0.56]), 0.1), [0.42, 0.52, 0.62])


def test_neurons_per_layer_bars_are_the_counts_from_layer_one():
    frame = layer_table(["en", "fr", "ja"], 6, ["a", "b"])
    frame = frame.astype({"ours": "Int64"})
    frame.loc[0, "ours"], frame.loc[7, "ours"] = 9, pd.NA  # the second layer of fr has no FFN
    figure = draw("neurons_per_layer", frame)
    assert len(figure.axes) == 6
    assert np.isnan(figure.axes[1].patches[0].get_data().values[1])
    values, edges, _ = figure.axes[0].patches[0].get_data()
    assert values.tolist() == [9, 0, 0, 1, 2, 3]
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert figure.axes[0].get_title() == "en: 15 neurons"
    assert figure.axes[0].get_xticks()[0] == 1
    # One scale within a model.
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim() != figure.axes[3].get_ylim()


@pytest.mark.parametrize(("languages", "models"), [(2, 1), (40, 1), (3, 10)])
def test_matrices_scale(tmp_path, languages, models):
    figure = draw("deactivation_by_method", change_table(codes(languages), codes(models)))
    figure.savefig(tmp_path / "deactivation_by_method.png", dpi=40)
    assert len(figure.axes) == models + 1
    # Numbers stand in the cells as long as they can be read.
    assert bool(figure.axes[0].texts) == (languages <= 20)


@pytest.mark.parametrize(("languages", "layers", "models"), [(2, 1, 1), (40, 24, 1), (3, 80, 3)])
def test_neurons_per_layer_scales(tmp_path, languages, layers, models):
    figure = draw("neurons_per_layer", layer_table(codes(languages), layers, codes(models)))
    figure.savefig(tmp_path / "neurons_per_layer.png", dpi=40)
    assert len(figure.axes) == languages * models


@pytest.mark.parametrize(("languages", "models"), [(2, 1), (25, 3)])
def test_deactivation_by_ratio_scales(tmp_path, languages, models):
    figure = draw("deactivation_by_ratio", sweep_table(codes(languages), codes(models)))
    figure.savefig(tmp_path / "deactivation_by_ratio.png", dpi=40)
    assert [len(axis.texts) for axis in figure.axes] == [languages] * models


def test_a_page_is_as_wide_as_two_columns():
    for item in ("deactivation_matrix", "deactivation_by_method", "deactivation_by_model"):
        frame = change_table(codes(7), methods=["lape", "active_lape", "lap"])
        assert draw(item, frame).get_figwidth() < 7.4


def test_another_items_table_and_another_suffix_are_refused(tmp_path, capsys):
    table = tmp_path / "neurons_per_layer.csv"
    TABLES["neurons_per_layer"].to_csv(table, index=False)
    words = ["figure", "deactivation_by_method", "--output", str(tmp_path / "x.pdf")]
    assert main([*words, str(table)]) == 1
    assert "has no column 'deactivated'" in capsys.readouterr().err
    page = table.with_suffix(".md")
    page.write_text("| layer, 1 to 18 | no |")
    assert main([*words, str(page)]) == 1
    assert f"{page}: has no column 'model'; pass {table}" in capsys.readouterr().err
    assert main(["figure", "neurons_per_layer", str(table), "--output", str(tmp_path / "neurons_per_layer.png")]) == 1
    assert "ends in .pdf" in capsys.readouterr().err
    assert not (tmp_path / "neurons_per_layer.json").exists()
