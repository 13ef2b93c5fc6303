"""Figures of generated answers: drawn from the CSV alone, the same bytes twice, at every size."""

import itertools

import numpy as np
import pandas as pd
import pytest
from drawings import assert_legible_in_a_column, drawn_twice
from matplotlib.colors import to_hex

from lape.items.figures import draw
from lape.items.registry import FIGURES
from lape.items.tables import read

LANGUAGES = ["en", "no", "nan"]
SUFFIXES = (".pdf", ".svg", ".png")


def cross_table(languages=LANGUAGES, prompts=("plain",), methods=("lape", "active_lape")):
    """LAPE succeeds in six of ten answers into the first language and in nine into the others, the control in one."""
    rows = []
    for prompt, method in itertools.product(prompts, methods):
        for k, m in [*itertools.permutations(languages, 2), ("", "")]:
            success = 0.1 if method == "active_lape" else 0.6 if m == languages[0] else 0.9
            tested = method == "lape" and len(methods) == 2
            p_holm = np.nan if not tested else 0.2 if m == languages[0] else 0.01
            rows.append(["tiny", prompt, method, k, m, success, success - 0.1 if tested else np.nan, p_holm])
    return pd.DataFrame(rows, columns=FIGURES["cross_lingual"].columns)


def dose_table(doses, kinds=("steered", "cross"), models=("tiny",)):
    """Rows of the mean and of one pair, from (mode, positions, strength, share, accuracy, nll, distinct_2)."""
    rows = []
    for model, kind in itertools.product(models, kinds):
        for mode, positions, strength, share, accuracy, nll, distinct in [NORMAL, *doses]:
            dose = [model, "plain", kind, mode, positions, strength, share]
            measured = [accuracy, accuracy - 0.1, accuracy + 0.05, nll, nll - 0.1, nll + 0.2, distinct]
            rows += [[*dose, "", *measured], [*dose, "no", *measured]]
    return pd.DataFrame(rows, columns=FIGURES["dose_response"].columns)


NORMAL = ("", "", 0.0, np.nan, 0.4, 2.0, 0.8)
DOSES = [
    ("add", "all", 0.5, 1.0, 0.6, 2.2, 0.8),
    ("add", "all", 4.0, 1.0, 0.3, 6.0, 0.2),
    ("set", "all", 1.0, 1.0, 0.8, 2.6, 0.7),
    ("set", "all", 2.0, 1.0, 0.9, 3.0, 0.6),
    ("set", "all", 1.0, 0.1, 0.5, 2.1, 0.8),
    ("set", "prompt", 1.0, 1.0, 0.45, 2.15, 0.8),
]
TABLES = {"cross_lingual": cross_table(), "dose_response": dose_table(DOSES)}


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("item", TABLES)
def test_command_writes_three_formats_and_the_same_bytes_twice(tmp_path, item):
    drawn_twice(tmp_path, item, TABLES[item])
    assert_legible_in_a_column(item, TABLES[item])


def test_the_matrix_stands_beside_its_control_on_one_scale_with_a_blank_diagonal(tmp_path):
    path = tmp_path / "cross_lingual.csv"
    cross_table(prompts=("plain", "suffix")).to_csv(path, index=False)
    figure = draw("cross_lingual", read(path, FIGURES["cross_lingual"].columns))
    names = ["LAPE", "activity-matched control"]
    assert titles(figure) == [f"tiny, {prompt}: {name}" for prompt in ("plain", "suffix") for name in names]
    lape, control, *_ = figure.axes
    assert [label.get_text() for label in lape.get_xticklabels()] == LANGUAGES
    assert [label.get_text() for label in lape.get_yticklabels()] == LANGUAGES
    (mesh,) = lape.collections
    expected = [[np.nan, 0.9, 0.9], [0.6, np.nan, 0.9], [0.6, 0.9, np.nan]]
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), np.nan).reshape(3, 3), expected)
    meshes = [axis.collections[0] for axis in figure.axes[:4]]
    assert {(mesh.norm.vmin, mesh.norm.vmax) for mesh in meshes} == {(0, 1)}
    shown = [(text.get_text(), text.get_fontweight()) for text in lape.texts]
    bold, weak = ("0.90", "bold"), ("0.60", "normal")
    assert shown == [bold, bold, weak, bold, weak, bold]
    assert {text.get_text() for text in control.texts} == {"0.10"}
    assert {text.get_fontweight() for text in control.texts} == {"normal"}


def test_a_matrix_without_a_control_stands_alone():
    figure = draw("cross_lingual", cross_table(methods=["lape"]))
    assert titles(figure) == ["tiny, plain: LAPE"]
    assert {text.get_fontweight() for text in figure.axes[0].texts} == {"normal"}


@pytest.mark.parametrize("languages", [2, 30])
def test_matrices_scale(tmp_path, languages):
    figure = draw("cross_lingual", cross_table([f"l{place}" for place in range(languages)], ("plain", "suffix")))
    figure.savefig(tmp_path / "cross.png", dpi=40)
    assert bool(figure.axes[0].texts) == (languages <= 20)
    assert draw("cross_lingual", cross_table([f"l{place}" for place in range(7)])).get_figwidth() < 7.4


def test_every_mode_has_a_path_from_the_normal_answers(tmp_path):
    path = tmp_path / "dose_response.csv"
    TABLES["dose_response"].to_csv(path, index=False)
    figure = draw("dose_response", read(path, FIGURES["dose_response"].columns))
    assert titles(figure) == ["tiny, plain: own language steered", "tiny, plain: across languages"]
    for axis in figure.axes:
        paths = {
            tuple(map(tuple, line.get_xydata().tolist())) for line in axis.get_lines() if len(line.get_xydata()) > 1
        }
        assert paths == {((2.0, 0.4), (2.2, 0.6), (6.0, 0.3)), ((2.0, 0.4), (2.6, 0.8), (3.0, 0.9))}
        words = {text.get_text(): text.xy for text in axis.texts}
        strengths = {"0.5": (2.2, 0.6), "4": (6.0, 0.3), "1": (2.6, 0.8), "2": (3.0, 0.9)}
        assert words == {"normal": (2.0, 0.4)} | strengths
        points = [line for line in axis.get_lines() if len(line.get_xydata()) == 1]
        marks = {tuple(line.get_xydata()[0]): line for line in points}
        assert len(marks) == len(DOSES) + 1
        # A dose of fewer neurons and one at other positions look unlike the path, and one another, in its colour.
        apart = {marks[2.1, 0.5].get_marker(), marks[2.15, 0.45].get_marker(), marks[2.6, 0.8].get_marker()}
        assert len(apart) == 3 and marks[2.1, 0.5].get_color() == marks[2.6, 0.8].get_color()
        hollow = {place for place, mark in marks.items() if to_hex(mark.get_markerfacecolor()) == "#ffffff"}
        assert hollow == {(6.0, 0.3)}
        bars = np.concatenate([segment for lines in axis.collections for segment in lines.get_segments()])
        assert {(2.5, 0.8), (2.8, 0.8), (2.6, 0.7), (2.6, 0.85)} <= {tuple(end) for end in bars.round(6).tolist()}
    (legend,) = figure.legends
    words = ["set", "add", "10% of the neurons", "prompt positions", "repetitive: distinct-2 below 0.5"]
    assert [text.get_text() for text in legend.get_texts()] == words


def test_a_sweep_of_few_neurons_tells_its_strengths_too():
    doses = [("set", "all", strength, 0.1, 0.5, 2 + strength, 0.8) for strength in (1.0, 2.0)]
    figure = draw("dose_response", dose_table(doses, ["steered"]))
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["1", "2", "normal"]
    assert not [line for line in axis.get_lines() if len(line.get_xydata()) > 1]


def test_a_kind_that_a_model_lacks_and_a_dose_without_answers_are_left_out(tmp_path):
    mute = ("max", "all", 8.0, 1.0, np.nan, np.nan, np.nan)
    both = pd.concat([dose_table([*DOSES, mute]), dose_table(DOSES, ["cross"], ["other"])])
    figure = draw("dose_response", both)
    figure.savefig(tmp_path / "dose.png", dpi=40)
    assert titles(figure) == [
        "tiny, plain: own language steered",
        "tiny, plain: across languages",
        "other, plain: across languages",
    ]


def test_strengths_stand_beside_their_points_and_not_on_one_another():
    places = [(mode, "all", 1.0, 1.0, 0.5, 2.5, 0.8) for mode in ("set", "max", "add", "scale")]
    figure = draw("dose_response", dose_table(places, ["steered"]))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text() == "1"]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
