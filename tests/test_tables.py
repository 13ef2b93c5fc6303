"""Tables: exact cells from small artifacts, refusal of incomplete ones, and the forms for people."""

import json
import math

import pandas as pd
import pytest

from lape.artifact import sha256
from lape.cli import main
from lape.errors import LapeError
from lape.tables import TABLES, Section, latex, markdown, read
from lape.tables.layout import rounded

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ["no", "nan"]
SETS = ["baseline", *LANGUAGES, "random"]


def perplexity_header(folder, model, deactivated, nll, languages=LANGUAGES, tokens=100):
    """A perplexity header with these mean NLLs, one a language."""
    method = {"baseline": "none", "random": "random"}.get(deactivated, "lape")
    rows = [
        {
            "evaluated": language,
            "tokens": tokens,
            "nll": value,
            "ppl": math.exp(value),
            "bytes": 400,
            "bits_per_byte": value * tokens / math.log(2) / 400,
        }
        for language, value in zip(languages, nll, strict=True)
    ]
    path = folder / f"{model}-{deactivated}.json"
    header = {"artifact": "perplexity", "model": model, "method": method, "deactivated": deactivated}
    path.write_text(json.dumps({**header, "languages": languages, "rows": rows, "hooks": {}}))
    return path


@pytest.fixture
def perplexities(tmp_path):
    """One model's four headers, in an order that is not the paper's."""
    nll = {"random": [2.0, 3.25], "nan": [2.125, 7.0], "baseline": [2.0, 3.0], "no": [4.5, 3.5]}
    return [perplexity_header(tmp_path, "tiny", deactivated, values) for deactivated, values in nll.items()]


def neurons_header(folder, model, owners, method="lape", sets=LANGUAGES, layers=4):
    """A neurons artifact from {(layer, index): "comma,separated"}."""
    stem = folder / f"{model}-{method}"
    lines = ["layer\tindex\tentropy\tlanguages"]
    lines += [f"{layer}\t{index}\t0.5\t{names}" for (layer, index), names in sorted(owners.items())]
    stem.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    counts = {name: sum(name in names.split(",") for names in owners.values()) for name in sets}
    header = {"artifact": "neurons", "model": model, "method": method, "languages": LANGUAGES, "sets": sets}
    stem.with_suffix(".json").write_text(
        json.dumps({**header, "layers": layers, "neurons_per_layer": 8, "counts": counts})
    )
    return stem.with_suffix(".json")


OWNERS = {(0, 3): "no", (0, 5): "no,nan", (3, 1): "nan", (3, 2): "nan"}


def test_figure2_has_every_cell_beside_its_baseline_in_the_languages_order(perplexities):
    frame = TABLES["figure2"].rows(perplexities)
    assert frame[["method", "deactivated", "evaluated"]].to_numpy().tolist() == [
        ["lape", "no", "no"],
        ["lape", "no", "nan"],
        ["lape", "nan", "no"],
        ["lape", "nan", "nan"],
        ["random", "random", "no"],
        ["random", "random", "nan"],
    ]
    assert frame["nll"].tolist() == [4.5, 3.5, 2.125, 7.0, 2.0, 3.25]
    assert frame["baseline_nll"].tolist() == [2.0, 3.0] * 3
    assert frame["ppl"].tolist() == [math.exp(value) for value in frame["nll"]]
    assert frame["baseline_ppl"].tolist() == [math.exp(2), math.exp(3)] * 3
    columns = "model,method,deactivated,evaluated,tokens,nll,ppl,bits_per_byte,baseline_nll,baseline_ppl"
    assert ",".join(frame.columns) == columns


def test_models_keep_the_order_of_the_inputs(tmp_path, perplexities):
    other = [perplexity_header(tmp_path, "a-second", deactivated, [1.0, 1.0]) for deactivated in SETS]
    frame = TABLES["figure2"].rows(perplexities + other)
    assert frame["model"].tolist() == ["tiny"] * 6 + ["a-second"] * 6
    assert set(frame.loc[6:, "baseline_nll"]) == {1.0}


@pytest.mark.parametrize(
    ("lacking", "named"),
    [(0, "random deactivated, no"), (1, "nan deactivated, no"), (2, "baseline, no"), (3, "no deactivated, no")],
)
def test_a_missing_set_is_named(perplexities, lacking, named):
    del perplexities[lacking]
    with pytest.raises(LapeError, match=f"tiny, {named} evaluated: missing"):
        TABLES["figure2"].rows(perplexities)


def test_a_missing_cell_is_named(perplexities):
    header = json.loads(perplexities[1].read_text())
    header["rows"] = header["rows"][:1]
    perplexities[1].write_text(json.dumps(header))
    with pytest.raises(LapeError, match="tiny, nan deactivated, nan evaluated: missing;"):
        TABLES["figure2"].rows(perplexities)


def test_duplicates_strangers_and_unequal_measurements_are_refused(tmp_path, perplexities):
    rows = TABLES["figure2"].rows
    with pytest.raises(LapeError, match="tiny, nan deactivated, no evaluated: comes twice"):
        rows([*perplexities, perplexities[1]])
    folder = tmp_path / "other"
    folder.mkdir()
    with pytest.raises(LapeError, match="'xx' is not among its languages"):
        rows([*perplexities, perplexity_header(folder, "tiny", "xx", [1.0, 1.0])])
    with pytest.raises(LapeError, match="other languages"):
        rows([*perplexities, perplexity_header(folder, "tiny", "no", [1.0, 1.0], languages=["nan", "no"])])
    shorter = perplexity_header(folder, "tiny", "nan", [1.0, 1.0], tokens=50)
    with pytest.raises(LapeError, match="nan deactivated, no evaluated: measured on 50 tokens"):
        rows([*perplexities[:1], shorter, *perplexities[2:]])


def test_the_header_of_another_stage_is_refused(tmp_path, perplexities):
    neurons = neurons_header(tmp_path, "tiny", OWNERS)
    with pytest.raises(LapeError, match="'neurons', not of 'perplexity'"):
        TABLES["figure2"].rows([*perplexities, neurons])
    with pytest.raises(LapeError, match="'perplexity', not of 'neurons'"):
        TABLES["table3"].rows(perplexities[:1])


def test_baseline_needs_no_deactivated_set(perplexities):
    frame = TABLES["baseline"].rows([perplexities[2]])
    assert ",".join(frame.columns) == "model,language,tokens,nll,ppl,bytes,bits_per_byte"
    assert frame["language"].tolist() == LANGUAGES
    assert frame["nll"].tolist() == [2.0, 3.0]
    assert frame["bytes"].tolist() == [400, 400]
    with pytest.raises(LapeError, match="tiny, baseline, no evaluated: missing"):
        TABLES["baseline"].rows(perplexities[:2])


def test_layers_count_from_one_with_zeros_and_shared_neurons_for_each_owner(tmp_path):
    frame = TABLES["tables6_10"].rows([neurons_header(tmp_path, "tiny", OWNERS)])
    assert list(frame.columns) == ["model", "method", "language", "layer", "neurons"]
    assert frame["language"].tolist() == ["no"] * 4 + ["nan"] * 4
    assert frame["layer"].tolist() == [1, 2, 3, 4] * 2
    assert frame["neurons"].tolist() == [2, 0, 0, 0, 1, 0, 0, 2]
    assert TABLES["figure5"] is TABLES["tables6_10"]


def test_table3_counts_every_set_of_every_model(tmp_path):
    paths = [
        neurons_header(tmp_path, "tiny", OWNERS),
        neurons_header(tmp_path, "tiny", {(2, 0): "random"}, method="random", sets=["random"]),
        neurons_header(tmp_path, "empty", {}),
    ]
    frame = TABLES["table3"].rows(paths)
    assert frame.to_numpy().tolist() == [
        ["tiny", "lape", "no", 2],
        ["tiny", "lape", "nan", 3],
        ["tiny", "random", "random", 1],
        ["empty", "lape", "no", 0],
        ["empty", "lape", "nan", 0],
    ]
    # A set that a model lacks is blank, not 0.
    cells = TABLES["table3"].sections(frame)[0].cells
    assert cells.to_numpy().tolist() == [["2", "3", "1"], ["0", "0", ""]]


def test_a_neurons_table_must_agree_with_its_header(tmp_path):
    path = neurons_header(tmp_path, "tiny", OWNERS)
    header, table = json.loads(path.read_text()), path.with_suffix(".tsv")
    rows = TABLES["tables6_10"].rows
    with pytest.raises(LapeError, match="second set of tiny lape"):
        rows([path, path])
    path.write_text(json.dumps({**header, "counts": {"no": 2, "nan": 9}}))
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: 3 neurons of nan, its header says 9"):
        rows([path])
    path.write_text(json.dumps({**header, "layers": 3}))
    with pytest.raises(LapeError, match="names layers"):
        rows([path])
    table.write_text("layer\tindex\n0\t1\n")
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: is not a table of neurons"):
        rows([path])
    table.unlink()
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: cannot be read"):
        rows([path])


def test_command_writes_every_form_and_the_csv_reads_back_exactly(tmp_path, perplexities):
    output = tmp_path / "tables" / "figure2.csv"
    arguments = ["table", "figure2", *map(str, perplexities), "--output", str(output)]
    assert main(arguments) == 0
    pd.testing.assert_frame_equal(read(output, ["model"]), TABLES["figure2"].rows(perplexities), check_exact=True)

    text = output.with_suffix(".md").read_text()
    assert "tiny: PPL change" in text
    assert f"{math.exp(7) - math.exp(3):.0f}" == "1077"
    assert "1077" in text
    assert "4.00" in text  # the same cell in nats
    tex = output.with_suffix(".tex").read_text()
    assert r"nan & 0.98 & 1077 \\" in tex
    assert r"nan & 0.12 & 4.00 \\" in tex
    assert tex.count(r"\bottomrule") == 2

    header = json.loads(output.with_suffix(".json").read_text())
    assert (header["artifact"], header["item"], header["rows"]) == ("table", "figure2", 6)
    assert (header["models"], header["languages"]) == (["tiny"], LANGUAGES)
    assert header["inputs"] == {str(path): sha256(path) for path in perplexities}
    assert set(header["outputs"]) == {"figure2.csv", "figure2.md", "figure2.tex"}

    before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    assert main(arguments) == 0
    assert before == {path.name: path.read_bytes() for path in output.parent.iterdir()}


def test_command_records_the_neurons_tsv_and_refuses_another_suffix(tmp_path, capsys):
    path = neurons_header(tmp_path, "tiny", OWNERS)
    assert main(["table", "tables6_10", str(path), "--output", str(tmp_path / "tables6_10.csv")]) == 0
    header = json.loads((tmp_path / "tables6_10.json").read_text())
    assert set(header["inputs"]) == {str(path), str(path.with_suffix(".tsv"))}
    assert "| 4       |    0 |     2 |" in (tmp_path / "tables6_10.md").read_text()
    assert r"4 & 0 & 2 \\" in (tmp_path / "tables6_10.tex").read_text()
    assert main(["table", "tables6_10", str(path), "--output", str(tmp_path / "tables6_10.tsv")]) == 1
    assert "ends in .csv" in capsys.readouterr().err


def test_read_refuses_what_is_not_the_table(tmp_path):
    path = tmp_path / "figure2.csv"
    with pytest.raises(LapeError, match="cannot be read"):
        read(path, ["model"])
    path.write_text("")
    with pytest.raises(LapeError, match="is not a table"):
        read(path, ["model"])
    path.write_text("model,language\n")
    with pytest.raises(LapeError, match="has no row"):
        read(path, ["model"])
    with pytest.raises(LapeError, match="has no column 'ppl'"):
        read(path, ["model", "ppl"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (-0.004, "0.00"),
        (-0.05, "\N{MINUS SIGN}0.05"),
        (2.563, "2.56"),
        (9.996, "10.0"),
        (30.24, "30.2"),
        (425.6, "426"),
        (9999.4, "9999"),
        (9999.6, "1.0e4"),
        (123456789.0, "1.2e8"),
        (2.5e12, "2.5e12"),
    ],
)
def test_rounded(value, text):
    assert rounded(value) == text


def test_forms_escape_what_latex_would_read_as_markup():
    section = Section("a_b: 5% & more", "language", pd.DataFrame({"zh_Hant": ["\N{MINUS SIGN}1"]}, index=["zh_Hans"]))
    tex = latex([section], "item")
    assert r"\caption{a\_b: 5\% \& more}" in tex
    assert r"zh\_Hans & $-$1 \\" in tex
    assert r"\label{tab:item-1}" in tex
    assert "a_b: 5% & more" in markdown([section])
