"""The stability command, its tables and figures: every part, the same bytes twice, refusals, numbers by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from shards import LANGUAGES, shards_of

from lape.artifacts.files import sha256, write_header
from lape.cli import main
from lape.errors import LapeError
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.neurons.agreement import ALL
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics


@pytest.fixture
def artifacts(tmp_path, monkeypatch, lape):
    """Statistics of three languages in 4 shards, as `lape statistics` leaves them, and LAPE's neurons."""
    monkeypatch.chdir(tmp_path)
    for language, parts in shards_of(10, tokens=(300, 400, 300, 400)).items():
        write_statistics(tmp_path, language, parts)
    command = ["select", "--statistics", *(f"{name}.json" for name in LANGUAGES), "--ratio", "0.1"]
    assert lape(*command, "--quantile", "0.8", "--output", "lape.tsv")[0] == 0
    return tmp_path


def write_statistics(folder, language: str, parts: list[ActivationStatistics]) -> None:
    files = [folder / f"{language}.shards" / f"{number}.npz" for number in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        part.save(file)
    sum(parts[1:], parts[0]).save(folder / f"{language}.npz")
    write_header(
        folder / f"{language}.json",
        "statistics",
        language=language,
        model="tiny",
        model_revision="1",
        shards=[
            {"file": f"{language}.shards/{file.name}", "tokens": part.tokens}
            for file, part in zip(files, parts, strict=True)
        ],
        parameters={},
        inputs=[],
        outputs=[folder / f"{language}.npz", *files],
    )


def command(statistics=LANGUAGES, neurons="lape.json", output="stability/tiny.json", **options) -> list[str]:
    words = ["stability", "--statistics", *(f"{name}.json" for name in statistics), "--neurons", neurons]
    for name, value in ({"resamples": 20, "seed": 1} | options).items():
        words += [f"--{name}", str(value)]
    return [*words, "--output", output]


def test_command_writes_every_part_and_the_same_bytes_twice(artifacts):
    found = []
    for _ in range(2):
        assert main(command()) == 0
        found.append({path.name: path.read_bytes() for path in (artifacts / "stability").iterdir()})
    assert found[0] == found[1]
    parts = {f"tiny.{part}.tsv" for part in ("splits", "resamples", "frequency", "left_out")}
    assert set(found[0]) == {"tiny.json", *parts}
    header = json.loads(found[0]["tiny.json"])
    neurons = json.loads((artifacts / "lape.json").read_text())
    assert (header["artifact"], header["method"], header["model"]) == ("stability", "lape", "tiny")
    assert header["counts"] == neurons["counts"] and header["selection"] == neurons["parameters"]
    assert header["shards"] == {language: [300, 400, 300, 400] for language in LANGUAGES}
    assert header["parameters"] == {"resamples": 20, "seed": 1}
    assert {"no.json", "lape.json", "lape.tsv", "nan.shards/3.npz"} <= {
        name.removeprefix(f"{artifacts}/") for name in header["inputs"]
    }
    assert set(header["outputs"]) == parts

    # The frequencies are of the selection that the header of the neurons describes.
    frequency = pd.read_csv(artifacts / "stability/tiny.frequency.tsv", sep="\t", keep_default_na=False)
    chosen = frequency[frequency["languages"] != ""]
    own = Neurons.load(artifacts / "lape.json").table
    assert chosen[["layer", "index"]].to_numpy().tolist() == own[["layer", "index"]].to_numpy().tolist()
    assert chosen["languages"].tolist() == [",".join(languages) for languages in own["languages"]]

    # Statistics are known by their language, not by their place.
    assert main(command(LANGUAGES[::-1], output="again/tiny.json")) == 0
    for part in parts:
        assert (artifacts / "again" / part).read_bytes() == found[0][part]


def test_lave_selects_from_the_means_of_the_shards(artifacts, lape):
    words = ["select", "--statistics", *(f"{name}.json" for name in LANGUAGES), "--method", "lave", "--ratio", "0.1"]
    assert lape(*words, "--output", "lave.tsv")[0] == 0
    assert main(command(neurons="lave.json", output="lave/tiny.json")) == 0
    frequency = pd.read_csv(artifacts / "lave/tiny.frequency.tsv", sep="\t", keep_default_na=False)
    chosen = frequency[frequency["languages"] != ""]
    assert chosen["index"].tolist() == Neurons.load(artifacts / "lave.json").table["index"].tolist()


def test_shards_without_tokens_are_passed_over(artifacts):
    assert main(command()) == 0
    expected = {path.name: path.read_bytes() for path in (artifacts / "stability").glob("*.tsv")}
    parts = shards_of(10, tokens=(300, 400, 300, 400))
    empty = ActivationStatistics.of_counts(np.zeros_like(parts["no"][0].count), 0, thresholds=(0.5,))
    for language in LANGUAGES:
        write_statistics(artifacts, language, [empty, *parts[language][:2], empty, *parts[language][2:]])
    header = json.loads((artifacts / "lape.json").read_text())
    header["inputs"] |= {f"{language}.json": sha256(artifacts / f"{language}.json") for language in LANGUAGES}
    (artifacts / "lape.json").write_text(json.dumps(header))
    assert main(command()) == 0
    assert expected == {path.name: path.read_bytes() for path in (artifacts / "stability").glob("*.tsv")}


def test_what_cannot_be_compared_is_refused(artifacts, lape):
    def refused(*names, **options):
        status, messages = lape(*command(**options))
        *_, last = messages.strip().splitlines()
        assert status == 1 and last.startswith("lape stability: ") and "Traceback" not in messages
        assert all(name in last for name in names), last
        assert last.rpartition("; ")[0] and not (artifacts / "stability").exists()

    refused("nan", "missing", statistics=("no", "fr"))
    refused("resamples", resamples=0)
    lape("control", "--neurons", "lape.json", "--output", "random.tsv")
    refused("random.json", "random does not select", neurons="random.json")
    (artifacts / "fr.shards/1.npz").write_bytes((artifacts / "fr.shards/0.npz").read_bytes())
    refused("fr.shards/1.npz", "is not the file")
    write_statistics(artifacts, "fr", shards_of(11)["fr"])
    refused("lape.json", "was not selected from fr.json")
    write_statistics(artifacts, "fr", shards_of(11)["fr"][:1])
    lape("select", "--statistics", "no.json", "fr.json", "--ratio", "0.1", "--output", "lape.tsv")
    refused("fr.json", "statistics.shards", statistics=("no", "fr"))


def stability_artifact(folder, model="tiny", method="lape"):
    """A stability artifact whose numbers can be checked by hand: two languages, 2 shards of 100 and of 200 tokens."""
    stem = folder / f"{model}-{method}"
    tables = {
        "splits": [
            "shards resample language first second shared",
            *(f"1 0 {ALL} 10 10 8", "1 0 no 6 4 4", "1 0 nan 0 0 0"),
            *(f"1 1 {ALL} 10 10 6", "1 1 no 5 5 5", "1 1 nan 2 0 0"),
        ],
        "resamples": [
            "resample language neurons shared",
            *(f"{number} {ALL} 10 9" for number in range(41)),
            *(f"{number} no {number} 4" for number in range(41)),
            *(f"{number} nan 2 2" for number in range(41)),
        ],
        "frequency": [
            "layer index languages frequency frequency_no frequency_nan",
            *("0 1 no 1.0 0.95 0.0", "0 2 no,nan 1.0 0.9 1.0", "1 0 - 0.5 0.0 0.5", "1 3 nan 0.9 0.0 0.9"),
        ],
        "left_out": ["left_out language before after kept"],
    }
    for part, lines in tables.items():
        cells = [line.replace(ALL, "ALL").split(" ") for line in lines]
        text = "\n".join("\t".join({"ALL": ALL, "-": ""}.get(cell, cell) for cell in row) for row in cells)
        stem.with_suffix(f".{part}.tsv").write_text(text + "\n")
    header = {"artifact": "stability", "model": model, "method": method, "languages": ["no", "nan"], "selected": 10}
    header |= {"counts": {"no": 5, "nan": 2}, "shards": {"no": [100, 100], "nan": [100, 300]}}
    stem.with_suffix(".json").write_text(json.dumps(header))
    return stem.with_suffix(".json")


def test_stability_table_by_hand(tmp_path):
    frame = TABLES["stability"].rows([stability_artifact(tmp_path)])
    assert frame["language"].tolist() == [ALL, "no", "nan"]
    assert frame["neurons"].tolist() == [10, 5, 2]
    assert frame[["low", "high"]].to_numpy().tolist() == [[10, 10], [1, 39], [2, 2]]
    # 8 of 12 and 6 of 14; 4 of 6 and 5 of 5; an undefined one, and none of 2.
    assert frame["jaccard"].tolist() == pytest.approx([(8 / 12 + 6 / 14) / 2, (4 / 6 + 1) / 2, 0])
    assert frame["jaccard_low"][1] == pytest.approx(4 / 6 + 0.025 / 3)
    assert frame["stable"].tolist() == [2 / 3, 1 / 2, 1 / 2]
    assert frame["tokens"].tolist() == [300, 200, 400]
    # One size of groups is no curve: of "no" 80% and 100% are found again, which is not 95%.
    assert frame["tokens_needed"].isna().all() and frame["extrapolated"].all()
    curves = TABLES["stability_curve"].rows([stability_artifact(tmp_path)])
    assert curves["tokens"].tolist() == [150, 100, 200]
    assert curves["overlap"].tolist() == pytest.approx([0.7, 0.9, 0])
    text = "\n".join(str(section.cells.to_numpy()) for section in TABLES["stability"].sections(frame))
    assert "0.83 (0.67\N{EN DASH}0.99)" in text and "unknown" in text


def test_tables_refuse_duplicates_changed_parts_and_two_languages(tmp_path):
    path = stability_artifact(tmp_path)
    with pytest.raises(LapeError, match="second one of tiny lape"):
        TABLES["stability"].rows([path, path])
    with pytest.raises(LapeError, match="of two languages none can be left out"):
        TABLES["left_out"].rows([path])
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "outputs": {"tiny-lape.splits.tsv": "0"}}))
    with pytest.raises(LapeError, match=r"splits\.tsv: is not the file"):
        TABLES["stability"].rows([path])
    path.with_suffix(".resamples.tsv").unlink()
    path.write_text(json.dumps(header))
    with pytest.raises(LapeError, match=r"resamples\.tsv: .*; run"):
        TABLES["stability"].rows([path])


def test_tables_and_figures_from_the_command_line(artifacts):
    assert main(command()) == 0
    for item in ("stability", "stability_curve", "left_out"):
        assert main(["table", item, "stability/tiny.json", "--output", f"tables/{item}.csv"]) == 0
        text = (artifacts / f"tables/{item}.md").read_text()
        assert all(f" {name} " in text for name in (ALL, *LANGUAGES))
    for item in ("stability", "stability_curve"):
        assert main(["figure", item, f"tables/{item}.csv", "--output", f"figures/{item}.pdf"]) == 0
    frame = pd.read_csv(artifacts / "tables/left_out.csv", keep_default_na=False)
    assert frame["left_out"].tolist() == ["no"] * 3 + ["nan"] * 3 + ["fr"] * 3
    union = frame["before"] + frame["after"] - frame["kept"]
    assert frame["jaccard"].tolist() == (frame["kept"] / union).tolist()


def many(languages: int, models: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of both figures, of any size."""
    codes = [ALL, *(f"l{number}" for number in range(languages))]
    names = [{"model": f"m{number}", "method": "lape", "language": code} for number in range(models) for code in codes]
    values = {"neurons": 9, "low": 8, "high": 12, "jaccard": 0.8, "jaccard_low": 0.7, "jaccard_high": 0.9}
    points = [(1000, 0.8, 0.7, 0.9, False), (2000, 0.85, 0.8, 0.9, False), (90_000, 0.95, np.nan, np.nan, True)]
    columns = ["tokens", "overlap", "low", "high", "extrapolated"]
    rows = [name | dict(zip(columns, point, strict=True)) for name in names for point in points]
    return pd.DataFrame([name | values for name in names]), pd.DataFrame(rows)


@pytest.mark.parametrize(("languages", "models"), [(2, 1), (40, 1), (3, 4)])
def test_figures_scale(tmp_path, languages, models):
    table, curves = many(languages, models)
    figure = draw("stability", table)
    figure.savefig(tmp_path / "stability.png", dpi=40)
    assert len(figure.axes) == 2 * models
    figure = draw("stability_curve", curves)
    figure.savefig(tmp_path / "curve.png", dpi=40)
    assert len(figure.axes) == models * (languages + 1)


def test_figures_show_the_numbers():
    table, curves = many(2, 1)
    counts, halves = draw("stability", table).axes
    (bars, *_), (points, *_) = counts.collections, counts.lines
    assert points.get_ydata().tolist() == [9, 9]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[8, 12]] * 2
    assert [label.get_text() for label in counts.get_xticklabels()] == ["l0", "l1"]
    assert [label.get_text() for label in halves.get_xticklabels()] == ["all", "l0", "l1"]

    axis = draw("stability_curve", curves).axes[1]
    threshold, solid, dashed = axis.lines
    assert threshold.get_ydata()[0] == 0.95
    assert solid.get_xydata().tolist() == [[1000, 0.8], [2000, 0.85]]
    assert dashed.get_xydata().tolist() == [[2000, 0.85], [90_000, 0.95]]
    assert axis.get_xscale() == "log"
    # 1 - share = 0.2 (n / 1000)^-b with b = log2(0.2 / 0.15) is 5% at 28,224 tokens.
    assert axis.get_title() == "l0: 95% at \N{ALMOST EQUAL TO}28k"
