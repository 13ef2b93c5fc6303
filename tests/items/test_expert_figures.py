"""Figures of expert units: drawn from the CSV alone, the same bytes twice, at every size."""

import itertools

import numpy as np
import pandas as pd
import pytest
from drawings import assert_legible_in_a_column, drawn_twice
from matplotlib.patches import StepPatch

from lape.errors import LapeError
from lape.items.figures import draw
from lape.items.registry import FIGURES
from lape.items.tables import read

LANGUAGES = ["en", "no", "nan"]


def layer_table(languages=LANGUAGES, layers=6, models=("tiny",)):
    """In layer n of the top n units of attention and 2 n of the FFN a language, half as many at the bottom."""
    rows = []
    for model, ranking, language, layer in itertools.product(
        models, ("top", "bottom", "random"), languages, range(1, layers + 1)
    ):
        for kind, part, count in (("attention", "q", layer), ("ffn", "up", layer), ("ffn", "down", layer)):
            count = 2 * count if ranking == "top" else count
            rows.append([model, ranking, language, layer, kind, part, count, 10, 1.5])
    return pd.DataFrame(rows, columns=["model", "ranking", "language", "layer", "kind", "part", *_COUNTS])


_COUNTS = ("count", "units", "expected")


def histogram_table(languages=LANGUAGES, models=("tiny",)):
    """Ten thousand units at chance, ten times fewer every five bins."""
    low = np.arange(50) / 50
    rows = [
        [
            model,
            language,
            start,
            start + 0.02,
            int(10 ** (4 - number / 5)) if number < 20 else 0,
            1 / 3,
            0.3 + 0.1 * place,
        ]
        for model in models
        for place, language in enumerate(languages)
        for number, start in enumerate(low)
    ]
    return pd.DataFrame(rows, columns=FIGURES["expert_histogram"].columns)


def size_table(languages=LANGUAGES, models=("tiny",), kinds=(("both", (2, 200, 2000)), ("top", (1000,)))):
    """The share rises with the number of units, and the NLL with it."""
    rows = []
    settings = [("none", 0), *((kind, size) for kind, sizes in kinds for size in sizes)]
    for model, (kind, size), (place, language) in itertools.product(models, settings, enumerate([*languages, ""])):
        share = 0.1 + 0.08 * np.log10(1 + size) + 0.05 * place / len(languages)
        for metric, ours in (("language_accuracy", share), ("lingua_accuracy", 0.5), ("nll", 3 + share)):
            rows.append([model, kind, size, language, metric, ours, ours - 0.05, ours + 0.04])
    return pd.DataFrame(rows, columns=FIGURES["expert_sizes"].columns)


def share_table(settings=("none", "top-1000", "both-2000", "random-2000"), languages=LANGUAGES, models=("tiny",)):
    rows = []
    for model, (place, setting), language in itertools.product(models, enumerate(settings), [*languages, ""]):
        for metric, ours in (("language_accuracy", 0.2 + 0.1 * place), ("nll", 3.0)):
            rows.append([model, setting, language, metric, ours, ours - 0.05, ours + 0.1])
    return pd.DataFrame(rows, columns=FIGURES["expert_share"].columns)


STEERING = ("none", "lape", "active_lape", "ap", "both-lape", "both-2000")
TABLES = {
    "expert_layers": layer_table(),
    "expert_histogram": histogram_table(),
    "expert_sizes": size_table(),
    "expert_share": share_table(),
    "expert_steering": share_table(STEERING),
}


def again(item, tmp_path):
    """A table, as the command reads it."""
    path = tmp_path / f"{item}.csv"
    TABLES[item].to_csv(path, index=False)
    return read(path, FIGURES[item].columns)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("item", TABLES)
def test_command_writes_three_formats_and_the_same_bytes_twice(tmp_path, item):
    found = drawn_twice(tmp_path, item, TABLES[item])
    assert_legible_in_a_column(item, TABLES[item])
    assert found[f"{item}.png"].startswith(b"\x89PNG")
    if item != "expert_layers":  # which sums over the languages
        assert all(f">{code}" in found[f"{item}.svg"].decode() for code in LANGUAGES)


def test_layers_are_stacked_by_kind_beside_chance(tmp_path):
    figure = draw("expert_layers", again("expert_layers", tmp_path))
    top, bottom = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["tiny, top: 378 units", "tiny, bottom: 189 units"]
    attention, ffn = top.containers
    assert [bar.get_height() for bar in attention] == [6 * layer for layer in range(1, 7)]
    assert [bar.get_height() for bar in ffn] == [12 * layer for layer in range(1, 7)]
    assert [bar.get_y() for bar in ffn] == [bar.get_height() for bar in attention]
    assert top.get_ylim() == bottom.get_ylim()
    (chance,) = (patch for patch in top.patches if isinstance(patch, StepPatch))
    np.testing.assert_allclose(chance.get_data().values, 3 * 3 * 1.5)
    assert legend(figure) == ["attention", "FFN", "by chance"]


def test_histograms_share_a_logarithmic_scale_and_mark_chance_and_the_cut(tmp_path):
    figure = draw("expert_histogram", again("expert_histogram", tmp_path))
    assert [axis.get_title() for axis in figure.axes] == [
        "en: top from 0.300",
        "no: top from 0.400",
        "nan: top from 0.500",
    ]
    for place, axis in enumerate(figure.axes):
        assert axis.get_yscale() == "log" and axis.get_ylim() == (0.5, 20000)
        (bins,) = (patch for patch in axis.patches if isinstance(patch, StepPatch))
        assert bins.get_data().values.tolist() == TABLES["expert_histogram"]["count"].tolist()[:50]
        assert [line.get_xdata()[0] for line in axis.get_lines()] == pytest.approx([1 / 3, 0.3 + 0.1 * place])


def test_sizes_are_lines_from_none_on_with_other_kinds_as_points(tmp_path):
    frame = again("expert_sizes", tmp_path)
    share, nll = draw("expert_sizes", frame).axes
    for axis, metric in ((share, "language_accuracy"), (nll, "nll")):
        lines = [line for line in axis.get_lines() if len(line.get_xdata()) == 4]
        assert len(lines) == 4
        for line, language in zip(lines, [*LANGUAGES, ""], strict=True):
            own = frame[(frame["language"] == language) & (frame["metric"] == metric)]
            assert line.get_ydata().tolist() == own.loc[own["kind"] != "top", "ours"].tolist()
            assert line.get_xdata()[1:].tolist() == [2, 200, 2000] and 0 < line.get_xdata()[0] < 2
        points = [line for line in axis.get_lines() if line.get_xdata().tolist() == [1000]]
        assert len(points) == 4 and {point.get_marker() for point in points} == {"^"}
    assert [share.xaxis.get_major_formatter()(place) for place in share.get_xticks()] == ["none", "2", "200", "2,000"]
    names = [text.get_text() for text in share.texts]
    assert sorted(names) == sorted([*LANGUAGES, "mean"])
    assert [text.get_text() for text in share.texts if text.get_fontweight() == "bold"] == ["mean"]


def test_settings_are_dots_with_their_intervals_and_controls_are_hollow(tmp_path):
    frame = again("expert_steering", tmp_path)
    figure = draw("expert_steering", frame)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == [*LANGUAGES, "mean"]
    assert len(axis.containers) == 6
    for place, dots in enumerate(axis.containers):
        line, _, (bars,) = dots
        np.testing.assert_allclose(line.get_ydata(orig=False), 0.2 + 0.1 * place)
        np.testing.assert_allclose(
            [bar[:, 1] for bar in bars.get_segments()], [[0.15 + 0.1 * place, 0.3 + 0.1 * place]] * 4
        )
        assert (line.get_markerfacecolor() == "white") == (STEERING[place] in ("none", "active_lape"))
    # No two dots of a language lie over one another.
    places = np.array([dots[0].get_xdata(orig=False) for dots in axis.containers])
    assert (np.diff(places, axis=0) > 0.1).all() and (np.abs(places - np.arange(4)) < 0.5).all()
    assert legend(figure) == [
        "none",
        "LAPE",
        "activity-matched control",
        "AP neurons",
        "top and bottom, as many as LAPE",
        "top and bottom, 2,000",
    ]


def test_a_setting_that_one_model_lacks_leaves_its_place_empty():
    frame = pd.concat([share_table(), share_table(settings=("none", "both-2000"), models=("other",))])
    first, second = draw("expert_share", frame).axes
    assert [len(axis.containers) for axis in (first, second)] == [4, 4]
    assert np.isnan(second.containers[1][0].get_ydata(orig=False)).all()


@pytest.mark.parametrize(("metric", "name"), [("lingua_accuracy", " (lingua)"), ("fasttext_accuracy", " (fastText)")])
@pytest.mark.parametrize("item", ["expert_sizes", "expert_share"])
def test_the_first_identifier_that_knows_the_languages_is_drawn(item, metric, name):
    frame = TABLES[item].assign(metric=TABLES[item]["metric"].replace("lingua_accuracy", "short"))
    known = draw(item, frame).axes
    # Beside a model whose languages langdetect knows.
    other = frame.assign(model="other", metric=frame["metric"].replace("language_accuracy", metric))
    axes = draw(item, pd.concat([frame, other])).axes
    first, *others = [axis.get_ylabel() for axis in known]
    assert [axis.get_ylabel() for axis in axes] == [first, *others, first + name, *others]
    for own, again in zip(axes[len(known) :], known, strict=True):
        assert own.lines and len(own.lines) == len(again.lines)
        for line, same in zip(own.lines, again.lines, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), same.get_ydata())


@pytest.mark.parametrize("item", ["expert_sizes", "expert_share", "expert_steering"])
def test_texts_in_languages_that_no_identifier_knows_are_refused_in_one_line(item):
    frame = TABLES[item]
    shares = frame["metric"].str.endswith("_accuracy")
    for unknown in (frame[~shares], frame.assign(ours=frame["ours"].mask(shares))):
        with pytest.raises(
            LapeError, match=r"^tiny: no identifier knows the languages of its texts; leave it out or give"
        ):
            draw(item, unknown)


def test_empty_texts_have_no_lines_of_their_nll():
    frame = TABLES["expert_sizes"]
    share, nll = draw("expert_sizes", frame[frame["metric"] != "nll"]).axes
    assert len(share.texts) == 4 and not nll.texts


@pytest.mark.parametrize("languages", [2, 30])
def test_figures_scale(tmp_path, languages):
    codes = [f"l{place}" for place in range(languages)]
    models = ("tiny", "other")
    tables = {
        "expert_layers": layer_table(codes, 1 if languages == 2 else 80, models),
        "expert_histogram": histogram_table(codes, models),
        "expert_sizes": size_table(codes, models, (("top", (5,)),) if languages == 2 else (("both", (2, 20)),)),
        "expert_share": share_table(("none", "both-2000"), codes, models),
    }
    for item, frame in tables.items():
        figure = draw(item, frame)
        figure.savefig(tmp_path / f"{item}.png", dpi=40)
        assert item == "expert_histogram" or figure.get_figwidth() <= 7
