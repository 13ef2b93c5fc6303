"""Tables of expert units: exact numbers from small artifacts."""

import json
import math

import numpy as np
import pytest
from answers import one
from expert_artifacts import LANGUAGES, UNITS, place, write_units

from lape.artifacts.files import read_json, write_header
from lape.audit.run import _check_table
from lape.cli import main
from lape.errors import LapeError
from lape.items.registry import TABLES
from lape.items.tables import read, subjects
from lape.paper.expert_units import expert_precision, expert_shares

PAPER = ("en", "de", "fr", "es", "zh", "ja")


def drawn(languages=LANGUAGES, seed=0, units=UNITS):
    """Average precision of the response and of the negated one, all different."""
    return np.random.default_rng(seed).random((2, len(languages), units))


def test_overlap_counts_what_two_languages_share_beside_chance(tmp_path):
    precision = np.zeros((2, 3, UNITS))
    tops = {"en": [0, 1, 2, 3], "no": [2, 3, 4, 5], "nan": [10, 11, 12, 3]}
    bottoms = {"en": [20, 21, 22, 23], "no": [24, 25, 26, 27], "nan": [20, 21, 22, 23]}
    for place_, language in enumerate(LANGUAGES):
        precision[0, place_, tops[language]] = [0.9, 0.8, 0.7, 0.6]
        precision[1, place_, bottoms[language]] = [0.9, 0.8, 0.7, 0.6]
    header = write_units(tmp_path, precision, number=4)["expert_units"]
    frame = TABLES["expert_overlap"].rows([header])
    assert len(frame) == 4 * (3 + 1)
    for ranking, counts in {"top": (2, 1, 1), "bottom": (0, 4, 0), "both": (2, 5, 1)}.items():
        own, units = frame[frame["ranking"] == ranking], 8 if ranking == "both" else 4
        pairs = own[own["language"] != ""]
        assert list(zip(pairs["language"], pairs["other"], strict=True)) == [("en", "no"), ("en", "nan"), ("no", "nan")]
        assert pairs["shared"].tolist() == list(counts)
        np.testing.assert_allclose(pairs["overlap"], np.array(counts) / units)
        np.testing.assert_allclose(own["expected"], units / UNITS)
        assert pairs[["highest", "paper"]].isna().all(axis=None)
        row = one(own, language="")
        assert row.overlap == pytest.approx(np.mean(counts) / units) and row.highest == max(counts) / units
        assert row.paper == 0.05
    # The first two of each top: en 0 1, no 2 3, nan 10 11.
    smaller = TABLES["expert_overlap"].rows([header], size=2)
    assert one(smaller[smaller["ranking"] == "top"], language="").highest == 0
    sections = TABLES["expert_overlap"].sections(frame)
    assert sections[0].cells.loc["tiny, bottom"].to_list() == ["4", "33.3%", "100.0%", "6.2%", "< 5.0%"]
    assert sections[1].cells.loc["en"].to_list() == ["50.0%", "25.0%"]
    assert sections[1].cells.loc["no"].to_list() == ["", "25.0%"]


def test_precision_is_that_of_the_selected_units_beside_chance(tmp_path):
    precision = drawn()
    frame = TABLES["expert_precision"].rows(list(write_units(tmp_path, precision).values()), size=4)
    assert len(frame) == 9 and frame[["rescored", "difference"]].isna().all(axis=None)
    for language, response, negated in zip(LANGUAGES, *precision, strict=True):
        top, bottom = np.argsort(-response)[:4], np.argsort(-negated)[:4]
        for ranking, chosen in (("top", top), ("bottom", bottom)):
            row = one(frame, language=language, ranking=ranking)
            expected = response[chosen].mean(), response[chosen].min(), response[chosen].max(), negated[chosen].mean()
            assert (row.mean, row.lowest, row.highest, row.negated_mean) == pytest.approx(expected)
            assert row.units == 4 and row.chance == pytest.approx(1 / 3)
    (section,) = TABLES["expert_precision"].sections(frame)
    shown = section.cells.at["no", "top"]
    values = np.sort(precision[0, 1])[-4:]
    assert shown == f"{values.mean():.3f} [{values[0]:.3f}, {values[-1]:.3f}]"


def write_halves(folder, precision):
    """Headers of the average precision [2, K, U] by each half of the sentences, half 1 first."""
    headers = []
    for half, values in enumerate(precision, start=1):
        header = folder / f"average_precision-{half}.json"
        np.save(header.with_suffix(".npy"), np.stack([values, values]))
        counts = {"positives": dict.fromkeys(LANGUAGES, 5), "sentences": 15, "units": values.shape[1]}
        same = {"model": "tiny", "languages": list(LANGUAGES), **counts, "parameters": {"half": half}}
        write_header(header, "average_precision_half", **same, inputs=[], outputs=[header.with_suffix(".npy")])
        headers.append(header)
    return headers


def test_units_are_scored_on_the_half_that_did_not_select_them(tmp_path):
    precision = drawn()
    precision[:, 0] = 0.1
    precision[0, 0, [3, 5]], precision[1, 0, [3, 6]] = [0.9, 0.7], [0.6, 0.8]
    headers = write_halves(tmp_path, precision)
    frame = TABLES["expert_held_out"].rows(headers[::-1], size=2)
    assert len(frame) == 6
    first, second = (one(frame, language="en", half=half) for half in (1, 2))
    assert (first.selecting, first.held_out, first.drop) == pytest.approx((0.8, 0.35, 0.45))
    assert (second.selecting, second.held_out) == pytest.approx((0.7, 0.5))
    for row in (first, second):
        assert (row.units, row.shared, row.overlap) == (2, 1, 0.5)
        assert (row.expected, row.chance) == pytest.approx((2 / UNITS, 1 / 3))
    frame.to_csv(tmp_path / "table.csv", index=False)  # no column is taken for text
    cells = TABLES["expert_held_out"].sections(read(tmp_path / "table.csv", []))[0].cells.loc["en"]
    assert cells.to_list() == ["0.750", "0.425", "0.325", "0.333", "50.0%", "3.1%"]
    assert TABLES["expert_held_out"].rows(headers)["overlap"].eq(1).all()  # the model has fewer than 1,000 units
    with pytest.raises(LapeError, match="average precision of tiny: half 2 is missing; pass its header, too"):
        TABLES["expert_held_out"].rows(headers[:1])
    with pytest.raises(LapeError, match="a second half 1 of tiny; pass each half once"):
        TABLES["expert_held_out"].rows([*headers, headers[0]])
    content = read_json(headers[1]) | {"inputs": {"other/responses.json": "0"}}
    headers[1].write_text(json.dumps(content))
    with pytest.raises(LapeError, match=r"-2\.json: is of other responses than .*-1\.json; run"):
        TABLES["expert_held_out"].rows(headers)


def test_the_papers_precision_is_beside_its_models_its_languages_and_its_number_alone(tmp_path):
    precision = drawn(PAPER, units=1500)
    options = {"model": "bloom-560m", "number": 1200}
    headers = list(write_units(tmp_path, precision, languages=PAPER, **options).values())
    frame = TABLES["expert_precision"].rows(headers, size=1000)
    row = one(frame, language="ja", ranking="top")
    assert (row.rescored, row.difference) == (0.990, pytest.approx(row.mean - 0.990))
    assert frame[frame["ranking"] != "top"]["rescored"].isna().all()
    assert "top, re-scored" in TABLES["expert_precision"].sections(frame)[0].cells
    assert TABLES["expert_precision"].rows(headers)["rescored"].isna().all()  # of 1,200
    other = write_units(tmp_path / "other", drawn(PAPER[:5], units=1500), languages=PAPER[:5], **options)
    assert TABLES["expert_precision"].rows(list(other.values()), size=1000)["rescored"].isna().all()


def test_the_papers_numbers_go_by_the_models_name():
    assert expert_precision("facebook/xglm-564M")["fr"] == 0.916
    assert expert_shares("Llama-2-7b-hf").to_dict() == {("none", "fr"): 0.03, ("both-2000", "fr"): 0.1}
    assert expert_precision("gpt2").empty and expert_shares("gpt2").empty


def test_layers_count_every_part_of_every_layer(tmp_path):
    header = write_units(tmp_path, drawn(), number=9)["expert_units"]
    frame = TABLES["expert_layers"].rows([header])
    assert len(frame) == 3 * 3 * 2 * 7
    for ranking in ("top", "bottom", "random"):
        for language in LANGUAGES:
            own = frame[(frame["ranking"] == ranking) & (frame["language"] == language)]
            assert own["count"].sum() == 9 and own["units"].sum() == UNITS
            np.testing.assert_allclose(own["expected"], own["units"] * 9 / UNITS)
    widths = {"q": 4, "k": 4, "v": 4, "o": 4, "gate": 6, "up": 6, "down": 4}
    assert frame.groupby("part")["units"].unique().map(list).to_dict() == {part: [w] for part, w in widths.items()}
    top = sorted(range(UNITS), key=lambda unit: -drawn()[0, 1, unit])[:9]
    for part, kind in (("k", "attention"), ("up", "ffn")):
        for layer in (1, 2):
            expected = sum(place(unit)["part"] == part and place(unit)["layer"] == layer - 1 for unit in top)
            row = one(frame, ranking="top", language="no", layer=layer, part=part)
            assert (row.count, row.kind) == (expected, kind)
    parts, layers, *_ = TABLES["expert_layers"].sections(frame)
    assert parts.cells.index[0] == "attention q" and parts.cells.columns.tolist() == [*LANGUAGES, "by chance"]
    assert sum(map(int, parts.cells["nan"])) == 9 and sum(map(int, layers.cells["nan"])) == 9


def test_the_histogram_holds_every_unit_once(tmp_path):
    precision = drawn()
    precision[0, 0, :3] = [0.0, 0.02, 1.0]
    frame = TABLES["expert_histogram"].rows(list(write_units(tmp_path, precision).values()), size=5)
    assert len(frame) == 3 * 50
    for language, values in zip(LANGUAGES, precision[0], strict=True):
        own = frame[frame["language"] == language]
        expected = [sum(n == min(math.floor(value / 0.02 + 1e-9), 49) for value in values) for n in range(50)]
        assert own["count"].tolist() == expected and own["cumulative"].iat[-1] == UNITS
        assert set(own["cut"]) == {np.sort(values)[-5]} and own["chance"].iat[0] == pytest.approx(1 / 3)
    (section,) = TABLES["expert_histogram"].sections(frame)
    assert section.cells.at["en", "from 0.0"] == "64"
    assert section.cells.at["nan", "from 0.9"] == str((precision[0, 2] >= 0.9).sum())


def test_units_that_do_not_fit_are_refused(tmp_path):
    headers = write_units(tmp_path, drawn())
    with pytest.raises(LapeError, match=r"units\.json: has rankings of 6 units, not of 7; change --size"):
        TABLES["expert_layers"].rows([headers["expert_units"]], size=7)
    whole = write_units(tmp_path / "whole", drawn(), number=UNITS)["expert_units"]
    assert TABLES["expert_layers"].rows([whole], size=1000).groupby("ranking")["count"].sum().eq(3 * UNITS).all()
    with pytest.raises(LapeError, match="a second set of units of tiny; pass each"):
        TABLES["expert_overlap"].rows([headers["expert_units"]] * 2)
    with pytest.raises(LapeError, match="average precision of tiny: missing; pass its header"):
        TABLES["expert_precision"].rows([headers["expert_units"]])
    content = read_json(headers["average_precision"]) | {"model_revision": "another"}
    headers["average_precision"].write_text(json.dumps(content))
    with pytest.raises(LapeError, match="is not what the units of tiny were selected by; run"):
        TABLES["expert_histogram"].rows(list(headers.values()))


def test_average_precision_is_that_which_the_units_were_selected_by(tmp_path):
    headers = write_units(tmp_path, drawn())
    other = write_units(tmp_path / "other", drawn(seed=1))
    assert len(TABLES["expert_precision"].rows([headers["expert_units"], headers["average_precision"]])) == 9
    # The same model and languages, computed from other responses.
    for item in ("expert_precision", "expert_histogram"):
        with pytest.raises(LapeError, match=r"other/.*n\.json: is not what the units of tiny were selected by; run"):
            TABLES[item].rows([headers["expert_units"], other["average_precision"]])
    array = headers["average_precision"].with_suffix(".npy")
    array.write_bytes(other["average_precision"].with_suffix(".npy").read_bytes())
    with pytest.raises(LapeError, match=r"average_precision\.npy: is not the file that .* was written for"):
        TABLES["expert_histogram"].rows(list(headers.values()))


def test_the_command_takes_a_size_and_the_audit_makes_the_table_again(tmp_path):
    header = write_units(tmp_path, drawn())["expert_units"]
    output = tmp_path / "tables" / "expert_layers.csv"
    assert main(["table", "expert_layers", str(header), "--size", "3", "--output", str(output)]) == 0
    written = read_json(output.with_suffix(".json"))
    assert set(written["inputs"]) == {str(header), str(header.with_suffix(".tsv"))}
    assert written["parameters"] == {"size": 3} and list(_check_table(output.with_suffix(".json"), written)) == []
    frame = read(output, [])
    assert frame.groupby(["ranking", "language"])["count"].sum().eq(3).all()
    assert subjects(frame)["languages"] == list(LANGUAGES)
