"""Expert units against rankings and medians in plain Python; what a perturbation takes of them."""

import json
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from response_artifacts import LANGUAGES, LINEAR, UNITS, drawn, labelled, write_responses
from stages import check_refusal

from lape.errors import LapeError
from lape.expert_units.blocks import Responses
from lape.expert_units.controls import activity_matched_units
from lape.expert_units.selection import ExpertUnits, select_units
from lape.model.linear import LinearLayer

LABELS = labelled(25)
VALUES = drawn(LABELS)


@pytest.fixture
def responses(tmp_path) -> Responses:
    return Responses.load(write_responses(tmp_path / "responses.json", VALUES, LABELS))


def tied_precision() -> np.ndarray:
    """[2, K, U] of few different values."""
    return np.random.default_rng(3).integers(1, 5, (2, len(LANGUAGES), UNITS)) / 5


def select(responses: Responses, precision: np.ndarray | None = None, **settings) -> ExpertUnits:
    precision = tied_precision() if precision is None else precision
    return select_units(precision, responses, neuron_part="up", **{"number": 10, **settings})


def ranked(units: ExpertUnits, language: str, ranking: str) -> list[int]:
    rows = units.table[(units.table["language"] == language) & (units.table["ranking"] == ranking)]
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    return rows["unit"].tolist()


@pytest.mark.parametrize("bottom", ("negated", "ascending"))
@pytest.mark.parametrize("number", (1, 10, UNITS, 1000))
def test_ranks_by_average_precision_and_ties_by_unit(number, bottom, responses):
    precision = tied_precision()
    units = select(responses, precision, number=number, bottom=bottom)
    for k, language in enumerate(LANGUAGES):
        response, negated = precision[:, k].tolist()
        top = sorted(range(UNITS), key=lambda u: (-response[u], u))
        low = sorted(range(UNITS), key=lambda u: (-negated[u], u) if bottom == "negated" else (response[u], u))
        assert ranked(units, language, "top") == top[:number]
        assert len(ranked(units, language, "random")) == min(2 * number, UNITS)
        # The bottom ends with the last that "both" may need: so many of it are not of the top.
        wanted, found = min(number, UNITS), ranked(units, language, "bottom")
        assert found == low[: len(found)] and len(found) >= wanted
        others = [unit not in top[:number] for unit in found]
        assert len(found) == UNITS or (sum(others) == number and others[-1])
    assert units.table["language"].unique().tolist() == list(LANGUAGES)


def test_every_row_says_where_its_unit_is_and_what_it_does(responses):
    precision = tied_precision()
    units = select(responses, precision, number=UNITS)
    table = units.table
    assert [units.other(language) for language in LANGUAGES] == [*LANGUAGES[1:], LANGUAGES[0]]
    names = ["self_attn.qkv"] * 12 + ["mlp.up"] * 28
    parts = [*"qqkkvvqqkkvv", *["up"] * 28]
    for row in table.itertuples():
        layer, first = (1, 32) if row.unit >= 32 else (0, 12 if row.unit >= 12 else 0)
        assert (row.layer, row.name, row.part) == (layer, names[row.unit], parts[row.unit])
        assert (row.kind, row.index) == ("attention" if row.unit < 12 else "ffn", row.unit - first)
        k = LANGUAGES.index(row.language)
        assert (row.average_precision, row.negated_average_precision) == tuple(precision[:, k, row.unit])
        own = [float(value) for value, label in zip(VALUES[row.unit], LABELS, strict=True) if label == k]
        assert row.median == statistics.median(own)
        other = [float(value) for value, label in zip(VALUES[row.unit], LABELS, strict=True) if label == (k + 1) % 3]
        assert row.other_median == statistics.median(other)


def test_the_median_of_an_even_number_lies_between(tmp_path):
    """Halfway between two neighbours in float32 is no float32."""
    labels = np.repeat([0, 1, 2], [2, 1, 1])
    values = np.tile(np.array([1, np.nextafter(np.float32(1), np.float32(2)), 5, 6], np.float32), (UNITS, 1))
    header = write_responses(tmp_path / "even.json", values, labels)
    table = select(Responses.load(header)).table
    assert set(table.loc[table["language"] == "no", "median"]) == {1 + 2**-24}


def test_random_units_are_a_draw_of_each_language_alone(responses, tmp_path):
    units, more = select(responses, seed=5), select(responses, seed=5, number=30)
    draws = {language: ranked(units, language, "random") for language in LANGUAGES}
    assert len(set(map(tuple, draws.values()))) == 3
    for language, draw in draws.items():
        assert len(set(draw)) == 20 and set(draw) <= set(range(UNITS))
        assert ranked(more, language, "random")[:20] == draw  # whatever the number
    assert ranked(select(responses, seed=6), "fr", "random") != draws["fr"]
    # Whatever the other languages, and their order, are.
    other = write_responses(tmp_path / "other.json", VALUES, np.arange(75) % 2, languages=("fr", "de"))
    alone = select(Responses.load(other), tied_precision()[:, :2], seed=5)
    assert ranked(alone, "fr", "random") == draws["fr"]


def test_random_units_are_uniform(responses):
    """Every unit comes about equally often among the first ten: 400 draws, each with a chance of a quarter."""
    counts = np.zeros(UNITS)
    for seed in range(400):
        counts[ranked(select(responses, seed=seed), "fr", "random")[:10]] += 1
    deviation = (counts - 100) / np.sqrt(400 * 0.25 * 0.75)
    assert np.abs(deviation).max() < 4


@pytest.mark.parametrize("size", (0, 1, 2, 7, 10))
def test_chosen_are_the_first_of_a_ranking(size, responses):
    units = select(responses)
    for kind in ("top", "bottom", "random"):
        assert units.chosen("nan", kind, size)["unit"].tolist() == ranked(units, "nan", kind)[:size]


def test_both_takes_half_of_each_and_no_unit_twice(responses):
    precision = np.tile(np.linspace(1, 0, UNITS), (2, 3, 1))  # top and bottom are the same units
    precision[1, 1] = np.linspace(0, 1, UNITS)  # but in "nan"
    units = select(responses, precision)
    assert units.chosen("nan", "both", 5)["unit"].tolist() == [0, 1, 2, 39, 38]
    assert units.chosen("nan", "both", 20)["unit"].tolist() == [*range(10), *range(39, 29, -1)]
    assert units.chosen("fr", "both", 5)["unit"].tolist() == [0, 1, 2, 3, 4]
    assert units.chosen("fr", "both", 1)["unit"].tolist() == [0]
    # All of the top's ten are the bottom's first, behind which it goes on.
    assert units.chosen("fr", "both", 16)["unit"].tolist() == [*range(8), *range(8, 16)]
    assert units.chosen("fr", "both", 20)["unit"].tolist() == list(range(20))


@pytest.mark.parametrize("bottom", ("negated", "ascending"))
@pytest.mark.parametrize("number", (1, 13, UNITS // 2))
def test_both_of_twice_the_number_never_runs_short(number, bottom, responses):
    generator = np.random.default_rng(number)
    for _ in range(20):
        precision = generator.integers(1, 4, (2, len(LANGUAGES), UNITS)) / 3
        precision[1, 0] = precision[0, 0]  # top and bottom are the same units
        units = select(responses, precision, number=number, bottom=bottom)
        for language in LANGUAGES:
            chosen = units.chosen(language, "both", 2 * number)["unit"].tolist()
            assert len(set(chosen)) == 2 * number
            assert chosen[:number] == ranked(units, language, "top")


@pytest.mark.parametrize(
    ("language", "kind", "size", "message"),
    (
        ("en", "top", 1, "no set 'en'"),
        ("fr", "worst", 1, "no kind 'worst' of units; use one of top, bottom, both, random"),
        ("fr", "top", 11, "has 10 top units of fr, 11 are wanted; "),
        ("fr", "both", 21, "has 10 top units of fr, 11 are wanted; "),
    ),
)
def test_what_is_not_there_is_refused(language, kind, size, message, responses):
    with pytest.raises(LapeError, match=message):
        select(responses).chosen(language, kind, size)


def test_a_perturbation_sets_every_chosen_unit_to_its_median(responses):
    units = select(responses, number=20)
    rows = units.chosen("no", "both", 25)
    perturbation = units.perturbation("no", "both", 25)
    assert perturbation.size == 25
    found = {
        (layer, name, int(i)): value
        for (layer, name), (index, values) in perturbation.values.items()
        for i, value in zip(index, values, strict=True)
    }
    assert found == {(row.layer, row.name, row.index): np.float32(row.median) for row in rows.itertuples()}
    for index, values in perturbation.values.values():
        assert index.dtype == np.int64 and values.dtype == np.float32 and (np.diff(index) > 0).all()
    off = units.perturbation("no", "both", 25, value=0.0)
    assert off.size == 25 and off.values.keys() == perturbation.values.keys()
    assert all((values == 0).all() and values.dtype == np.float32 for _, values in off.values.values())
    assert units.perturbation("no", "top", 0).size == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        ({"number": 0}, "number: 0"),
        ({"seed": -1}, "seed: -1 is negative; set it to 0 or more"),
        ({"bottom": "lowest"}, "'lowest' is unknown; use one of negated, ascending"),
    ),
)
def test_bad_settings_are_refused(settings, message, responses):
    with pytest.raises(LapeError, match=message):
        select(responses, **settings)


def test_the_precision_of_other_responses_is_refused(responses):
    with pytest.raises(LapeError, match=r"is \(2, 3, 39\), the responses give \(2, 3, 40\); "):
        select(responses, tied_precision()[:, :, 1:])


def run(lape, folder: Path, *options: str) -> tuple[int, str, Path]:
    """Both commands on the responses in a folder; the status and messages of the second, and its header."""
    header, output = folder / "responses.json", folder / "units.tsv"
    precision = folder / "average_precision.npy"
    if not precision.exists():
        assert not lape("average_precision", "--responses", header, "--output", precision)[0]
    words = ("--average-precision", precision.with_suffix(".json"), "--responses", header)
    return *lape("select_units", *words, *options, "--output", output), output.with_suffix(".json")


def test_the_command_writes_an_artifact_that_loads(lape, responses, tmp_path):
    status, messages, header = run(lape, tmp_path, "--number", "6", "--seed", "2", "--bottom", "ascending")
    assert not status, messages
    kept = header.with_suffix(".tsv").read_bytes(), header.read_bytes()
    found = ExpertUnits.load(header)
    expected = select_units(
        np.load(tmp_path / "average_precision.npy"), responses, neuron_part="up", number=6, seed=2, bottom="ascending"
    )
    pd.testing.assert_frame_equal(found.table, expected.table)
    assert (found.languages, found.units, found.neuron_part) == (LANGUAGES, UNITS, "up")
    assert found.linear_layers == tuple(map(LinearLayer.of, LINEAR))
    content = json.loads(kept[1])
    assert content["number"] == 6 and content["model_revision"] == "r1"
    assert content["parameters"] == {"number": 6, "seed": 2, "bottom": "ascending"}
    assert found.summary == content
    run(lape, tmp_path, "--number", "6", "--seed", "2", "--bottom", "ascending")
    assert kept == (header.with_suffix(".tsv").read_bytes(), header.read_bytes())
    _, _, header = run(lape, tmp_path, "--number", "1000")
    assert json.loads(header.read_text())["number"] == UNITS


def test_a_negative_seed_is_refused_in_one_line(lape, responses, tmp_path):
    status, messages, header = run(lape, tmp_path, "--seed", "-1")
    check_refusal(status, messages, "select_units", "seed: -1 is negative")
    assert not header.exists()


def test_a_median_that_is_no_number_is_refused(lape, responses, tmp_path):
    *_, header = run(lape, tmp_path, "--number", "3")
    table = pd.read_csv(header.with_suffix(".tsv"), sep="\t", keep_default_na=False)
    table.loc[4, "median"] = np.nan
    table.to_csv(header.with_suffix(".tsv"), sep="\t", index=False, na_rep="nan")
    header.write_text(json.dumps(json.loads(header.read_text()) | {"outputs": {}}))
    with pytest.raises(LapeError, match=r"units\.tsv: a median is NaN or infinite; "):
        ExpertUnits.load(header)


def test_other_responses_than_were_scored_are_refused(lape, responses, tmp_path):
    run(lape, tmp_path)
    write_responses(tmp_path / "responses.json", VALUES + 1, LABELS)
    (tmp_path / "units.json").unlink()
    status, messages, header = run(lape, tmp_path)
    check_refusal(status, messages, "select_units", "average_precision.json: was not computed from", "responses.json")
    assert not header.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    (
        ("\ttop\t", "\tbest\t", "names languages, rankings or units"),
        ("fr\t", "de\t", "names languages, rankings or units"),
        ("\tunit\t", "\tneuron\t", "is no table of expert units"),
        ("\t1\t", "\tone\t", "is no table of expert units"),
    ),
)
def test_a_table_that_does_not_fit_its_header_is_refused(old, new, message, lape, responses, tmp_path):
    *_, header = run(lape, tmp_path, "--number", "3")
    table, content = header.with_suffix(".tsv"), json.loads(header.read_text())
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(LapeError, match=r"is not the file that .* was written for; "):
        ExpertUnits.load(header)
    header.write_text(json.dumps(content | {"outputs": {}}))  # as if written by hand
    with pytest.raises(LapeError, match=message):
        ExpertUnits.load(header)


def test_the_control_is_of_the_same_linear_layers_and_as_active(responses):
    """Against the activity of plain numpy: a unit that no language chose, nearer than a random one of its layer."""
    precision = np.random.default_rng(5).random((2, len(LANGUAGES), UNITS))
    units = select(responses, precision, number=4)
    control = activity_matched_units(units, precision, responses, nearest=1)
    top = {unit for language in LANGUAGES for unit in ranked(units, language, "top")}
    distances = []
    for k, language in enumerate(LANGUAGES):
        own, drawn = (ranked(each, language, "top") for each in (units, control))
        assert len(set(drawn)) == len(own) == 4 and not top & set(drawn)
        said = VALUES[:, np.array(LABELS) == k].astype(np.float64)
        activity = np.stack([said.mean(axis=1), said.std(axis=1)], axis=1)
        for unit, match in zip(own, drawn, strict=True):
            linear = next(each for each in units.linear_layers if each.first <= unit < each.first + each.width)
            places = np.arange(linear.first, linear.first + linear.width)
            assert match in places
            scaled = activity[places] / activity[places].std(axis=0)
            distance = np.linalg.norm(scaled - scaled[unit - linear.first], axis=1)
            free = [place for place in places - linear.first if place + linear.first not in top]
            distances.append(distance[match - linear.first] / np.median(distance[free]))
        rows = control.table[control.table["language"] == language]
        assert rows["median"].tolist() == [statistics.median(map(float, said[unit])) for unit in drawn]
    assert np.mean(distances) < 0.6
    again, other = (activity_matched_units(units, precision, responses, seed) for seed in (0, 1))
    assert not again.table.equals(other.table)
    with pytest.raises(LapeError, match="selected from other responses"):
        activity_matched_units(units, precision[:, :, 1:], responses)


def test_the_control_lacks_units_where_linear_layers_have_too_few(responses, caplog):
    precision = np.random.default_rng(5).random((2, len(LANGUAGES), UNITS))
    control = activity_matched_units(select(responses, precision, number=16), precision, responses)
    assert "too few outside the tops" in caplog.text
    assert 0 < control.table.groupby("language").size().min() < 16
    with pytest.raises(LapeError, match=r"no unit of .* has a match"):
        activity_matched_units(select(responses, precision, number=UNITS), precision, responses)
