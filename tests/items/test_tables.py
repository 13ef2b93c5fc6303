"""Tables: exact cells from small artifacts, refusal of incomplete ones, and the forms for people."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from neuron_artifacts import neurons_header

from lape.cli import main
from lape.errors import LapeError
from lape.items.layout import Section, latex, markdown, rounded
from lape.items.registry import TABLES
from lape.items.tables import read
from lape.neurons.selection import select_lave
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ["no", "nan"]


OWNERS = {(0, 3): "no", (0, 5): "no,nan", (3, 1): "nan", (3, 2): "nan"}


def test_layers_count_from_one_with_zeros_and_shared_neurons_for_each_owner(tmp_path):
    frame = TABLES["neurons_per_layer"].rows([neurons_header(tmp_path, "tiny", OWNERS)])
    assert list(frame.columns) == ["model", "method", "language", "layer", "layer_index", "ours", "paper", "difference"]
    assert frame[["paper", "difference"]].isna().all(axis=None)
    assert frame["language"].tolist() == ["no"] * 4 + ["nan"] * 4
    assert frame["layer"].tolist() == [1, 2, 3, 4] * 2
    assert frame["layer_index"].tolist() == [0, 1, 2, 3] * 2
    assert frame["ours"].tolist() == [2, 0, 0, 0, 1, 0, 0, 2]


def test_a_layer_without_an_ffn_is_blank(tmp_path):
    path = neurons_header(tmp_path, "hybrid", {(0, 1): "no", (2, 7): "no,nan"}, layers=3)
    header = json.loads(path.read_text())
    del header["neurons_per_layer"]
    path.write_text(json.dumps(header | {"sites": [[0, "dense", 1, 8], [2, "dense", 1, 8]]}))
    frame = TABLES["neurons_per_layer"].rows([path])
    assert frame.set_index(["language", "layer"])["ours"].tolist() == [1, pd.NA, 1, 0, pd.NA, 1]
    (section,) = TABLES["neurons_per_layer"].sections(frame)
    assert section.cells.loc[2].tolist() == ["", ""]


def test_controls_stand_beside_the_neurons_that_they_match(tmp_path):
    found = {}
    for place, language in enumerate(LANGUAGES):
        count = np.zeros((4, 8), np.int64)
        count[0, 3:7], count[3] = [90, 80, 80, 70], 50 + place
        ActivationStatistics.of_counts(count, 100).save(tmp_path / f"{language}.npz")
        header = {"artifact": "statistics", "model": "tiny", "model_revision": None, "language": language}
        found[language] = tmp_path / f"{language}.json"
        found[language].write_text(json.dumps(header))
    own = neurons_header(tmp_path, "tiny", OWNERS)
    control = neurons_header(tmp_path, "tiny", {(0, 4): "no", (0, 6): "no", (3, 0): "nan"}, method="active_lape")
    frame = TABLES["controls"].rows([own, control, *found.values()]).set_index("language")
    assert frame.columns[:5].tolist() == ["model", "method", "control_method", "neurons", "control_neurons"]
    assert frame.loc["no", ["probability", "control_probability"]].tolist() == pytest.approx([0.85, 0.75])
    assert frame.loc["no", "probability_difference"] == pytest.approx(0.1 / 0.05)
    assert frame["neurons"].tolist() == [2, 3] and frame["control_neurons"].tolist() == [2, 1]
    (section,) = TABLES["controls"].sections(frame.reset_index())
    assert "active_lape" in section.title and section.cells.index.tolist() == LANGUAGES
    assert "The control is less active than lape" in section.title
    alike = frame.reset_index().assign(probability_difference=0.2, mean_difference=0.2)
    (section,) = TABLES["controls"].sections(alike)
    assert "less active" not in section.title
    with pytest.raises(LapeError, match="no neurons have a control among the inputs; pass both"):
        TABLES["controls"].rows([own, *found.values()])


def test_other_settings_of_the_selection_stand_beside_the_runs_own(stages, lape):
    statistics = ["statistics/fr.json", "statistics/ja.json"]
    line = ["select", "--statistics", *statistics, "--method", "lave", "--ratio", "0.1", "--output", "neurons/lave.tsv"]
    assert lape(*line)[0] == 0
    frame = TABLES["selection_choices"].rows(["neurons/lape.json", "neurons/lave.json", *statistics])
    counted = {path[11:13]: ActivationStatistics.load(path) for path in statistics}
    own, other = Neurons.load("neurons/lave.json"), select_lave(counted, 0.1, negative="absolute")
    rows = frame[(frame["method"] == "lave") & (frame["value"] == "absolute")].set_index("language")
    for language in ("fr", "ja"):
        one, two = (set(each[language].numbers()) for each in (own, other))
        assert rows.at[language, "neurons"] == len(two)
        assert rows.at[language, "jaccard"] == pytest.approx(len(one & two) / len(one | two))
        assert rows.at[language, "negative"] == (counted[language].total < 0).mean()
    assert frame[frame["method"] == "lape"]["negative"].isna().all()
    assert set(frame.loc[frame["method"] == "lape", "setting"]) == {"quantile", "assignment"}
    first, second = TABLES["selection_choices"].sections(frame)
    assert first.cells.index.tolist() == ["quantile: 0.9", "quantile: 0.98", "assignment: maximum"]
    assert "of the mean activations are negative" in second.title
    with pytest.raises(LapeError, match="no statistics of ja; pass those"):
        TABLES["selection_choices"].rows(["neurons/lape.json", statistics[0]])


def corpus_header(folder, language, share, text):
    header = {
        "artifact": "corpus",
        "language": language,
        "documents": 1200,
        "bytes": 2_500_000,
        "dropped": {"short": 3, "excluded": 0, "duplicate": 2, "other_language": 0},
        "share_other_language": share,
        "detected_languages": {"en": 900, "fr": 300},
        "parameters": {"other_language": 0.5},
        "outputs": {f"{language}.parquet": text},
    }
    path = folder / f"{language}.json"
    path.write_text(json.dumps(header))
    return path


def test_a_corpus_of_other_text_is_marked(tmp_path):
    shares = {"en": (0.25, "a"), "fr": (0.75, "b"), "no": (None, "a")}
    paths = [corpus_header(tmp_path, language, *found) for language, found in shares.items()]
    frame = TABLES["corpora"].rows(paths)
    assert frame["warning"].tolist() == [
        "the same text stands for no",
        "75% of the documents are detected as another language (en)",
        "the same text stands for en",
    ]
    (section,) = TABLES["corpora"].sections(frame)
    assert section.cells.loc["fr"].tolist()[:4] == ["1,200", "2.50", "5", "75.0%"]
    assert section.cells.loc["no", "in another language"] == "not detected"
    with pytest.raises(LapeError, match="a second corpus of en; pass each language's once"):
        TABLES["corpora"].rows([paths[0], paths[0]])


def test_neurons_per_language_counts_every_set_of_every_model(tmp_path):
    paths = [
        neurons_header(tmp_path, "tiny", OWNERS),
        neurons_header(tmp_path, "tiny", {(2, 0): "no"}, method="random"),
        neurons_header(tmp_path, "other", {(1, 1): "en,no"}, sets=["en", "no"]),
    ]
    frame = TABLES["neurons_per_language"].rows(paths)
    assert frame[["model", "method", "language", "ours"]].to_numpy().tolist() == [
        ["tiny", "lape", "no", 2],
        ["tiny", "lape", "nan", 3],
        ["tiny", "random", "no", 1],
        ["tiny", "random", "nan", 0],
        ["other", "lape", "en", 1],
        ["other", "lape", "no", 1],
    ]
    # A language that a model lacks is blank, not 0.
    cells = TABLES["neurons_per_language"].sections(frame)[0].cells
    assert cells.index.tolist() == ["tiny", "tiny, random", "other"]
    assert cells.columns.tolist() == ["no", "nan", "en"]
    assert cells.to_numpy().tolist() == [["2", "3", ""], ["1", "0", ""], ["1", "", "1"]]


PAPER = ["en", "zh", "fr", "es", "vi", "id", "ja"]
LLAMA = {"sets": PAPER, "layers": 32, "neurons_per_layer": 11008}


def test_the_papers_models_have_its_numbers_and_the_difference_beside_ours(tmp_path):
    path = neurons_header(tmp_path, "Llama-2-7b-hf", {(0, 5): "zh,fr", (31, 7): "fr"}, **LLAMA)
    frame = TABLES["neurons_per_layer"].rows([path]).set_index(["language", "layer"])
    assert frame.loc["fr", 1].to_list()[3:] == [1, 220, -219]
    assert frame.loc["zh", 32].to_list()[3:] == [0, 49, -49]
    assert frame["paper"].sum() == 95 + 583 + 1022 + 838 + 836 + 1068 + 582
    sections = TABLES["neurons_per_layer"].sections(frame.reset_index())
    assert [section.cells.at[1, "fr"] for section in sections] == ["1", "220", "\N{MINUS SIGN}219"]
    assert [section.cells.at[4, "fr"] for section in sections] == ["0", "0", "0"]

    frame = TABLES["neurons_per_language"].rows([path])
    assert frame["paper"].tolist() == [95, 583, 1022, 838, 836, 1068, 582]
    assert frame["difference"].tolist() == [-95, -582, -1020, -838, -836, -1068, -582]
    (section,) = TABLES["neurons_per_language"].sections(frame)
    assert section.cells["zh"].to_dict() == {
        "Llama-2-7b-hf": "1",
        "Llama-2-7b-hf, paper": "583",
        "Llama-2-7b-hf, difference": "\N{MINUS SIGN}582",
    }


def test_a_partial_table_of_the_paper_leaves_its_missing_rows_empty(tmp_path):
    path = neurons_header(tmp_path, "LLaMA-2-70B", {(3, 5): "zh"}, sets=PAPER, layers=80, neurons_per_layer=28672)
    frame = TABLES["neurons_per_layer"].rows([path]).set_index(["language", "layer"])
    assert frame.loc[("zh", 4), ["paper", "difference"]].isna().all()
    assert frame.loc["zh", 5].to_list()[3:] == [0, 17, -17]
    assert frame["paper"].notna().sum() == 45 * 7
    section = TABLES["neurons_per_layer"].sections(frame.reset_index())[2]
    assert section.cells["zh"].loc[[4, 5]].to_list() == ["", "\N{MINUS SIGN}17"]
    # The totals are those of Table 3, not the sums of the rows at hand.
    assert TABLES["neurons_per_language"].rows([path])["paper"].tolist() == [836, 5153, 6082, 6154, 4980, 6106, 5216]


@pytest.mark.parametrize(
    "other",
    [
        {"method": "lap"},
        {"sets": PAPER[:6]},
        {"sets": [*PAPER, "de"]},
        {"layers": 40},
        {"neurons_per_layer": 14336},
    ],
)
def test_another_method_language_set_or_shape_is_not_compared(tmp_path, other):
    path = neurons_header(tmp_path, "LLaMA-2-7B", {(0, 5): "zh"}, **(LLAMA | other))
    frame = TABLES["neurons_per_language"].rows([path])
    assert frame[["paper", "difference"]].isna().all(axis=None)
    assert len(TABLES["neurons_per_language"].sections(frame)[0].cells) == 1


def test_a_repository_of_the_hub_names_the_papers_model(tmp_path):
    path = neurons_header(tmp_path, "mine", {(0, 5): "zh"}, **LLAMA)
    assert TABLES["neurons_per_language"].rows([path])["paper"].isna().all()
    path.write_text(json.dumps({**json.loads(path.read_text()), "checkpoint": "meta-llama/Llama-2-7b-hf"}))
    assert TABLES["neurons_per_language"].rows([path])["paper"].tolist() == [95, 583, 1022, 838, 836, 1068, 582]


def test_a_neurons_table_must_agree_with_its_header(tmp_path):
    path = neurons_header(tmp_path, "tiny", OWNERS)
    header, table = json.loads(path.read_text()), path.with_suffix(".tsv")
    rows = TABLES["neurons_per_layer"].rows
    with pytest.raises(LapeError, match="second set of tiny lape"):
        rows([path, path])
    path.write_text(json.dumps({**header, "counts": {"no": 2, "nan": 9}}))
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: 3 neurons of nan, its header says 9"):
        rows([path])
    path.write_text(json.dumps({**header, "layers": 3}))
    with pytest.raises(LapeError, match="names a layer"):
        rows([path])
    table.write_text("layer\tindex\n0\t1\n")
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: is not a table of neurons"):
        rows([path])
    table.unlink()
    with pytest.raises(LapeError, match=r"tiny-lape\.tsv: cannot be read"):
        rows([path])


def test_command_records_the_neurons_tsv_and_refuses_another_suffix(tmp_path, capsys):
    path = neurons_header(tmp_path, "tiny", OWNERS)
    assert main(["table", "tables6_10", str(path), "--output", str(tmp_path / "neurons_per_layer.csv")]) == 0
    header = json.loads((tmp_path / "neurons_per_layer.json").read_text())
    assert set(header["inputs"]) == {str(path), str(path.with_suffix(".tsv"))}
    assert "| 4               |    0 |     2 |" in (tmp_path / "neurons_per_layer.md").read_text()
    assert r"4 & 0 & 2 \\" in (tmp_path / "neurons_per_layer.latex" / "neurons_per_layer-1.tex").read_text()
    assert main(["table", "neurons_per_layer", str(path), "--output", str(tmp_path / "neurons_per_layer.tsv")]) == 1
    assert "ends in .csv" in capsys.readouterr().err


def test_read_refuses_what_is_not_the_table(tmp_path):
    path = tmp_path / "deactivation_by_method.csv"
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
    cells = pd.DataFrame({"zh_Hant": ["\N{MINUS SIGN}1", "[-0.5, 1e-05]"]}, index=["zh_Hans", "llama-2-7b"])
    section = Section("a_b: 5% & more (p < 0.05)", "language", cells)
    (tex,) = latex([section], "item").values()
    assert r"\caption{a\_b: 5\% \& more (p $<$ 0.05)}" in tex
    assert r"zh\_Hans & $-$1 \\" in tex and r"llama-2-7b & [$-$0.5, 1e-05] \\" in tex
    assert r"\label{tab:item-1}" in tex
    assert "a_b: 5% & more (p < 0.05)" in markdown([section]) and "[\N{MINUS SIGN}0.5" in markdown([section])


@pytest.mark.parametrize(
    ("down", "across", "kind", "scale"),
    [
        (3, 3, "table", ""),
        (3, 10, "table*", ""),
        (3, 40, "table*", r"{\linewidth}{!}"),
        (80, 3, "table", r"{!}{0.85\textheight}"),
    ],
)
def test_a_table_takes_the_width_that_it_needs(down, across, kind, scale):
    cells = pd.DataFrame([["1,234"] * across] * down, columns=[f"l{place}" for place in range(across)])
    (tex,) = latex([Section("title", "layer", cells)], "item").values()
    assert rf"\begin{{{kind}}}[tbp]" in tex and rf"\end{{{kind}}}" in tex
    assert (rf"\resizebox*{scale}" in tex) == bool(scale) == ("resizebox" in tex)


TEX = next(filter(None, map(shutil.which, ("xelatex", "pdflatex", "tectonic"))), None)


@pytest.mark.skipif(TEX is None, reason="no TeX is installed (xelatex, pdflatex or tectonic)")
def test_tex_compiles_every_kind_of_table(tmp_path):
    """Narrow, wide and long numbers, and running text with every character of ASCII."""
    text = "\n" + "".join(map(chr, range(1, 128)))
    sections = [Section(text, "", pd.DataFrame({"en": [text, "[x]"]}, index=["question", "answer"]), prose=True)]
    for down, across in ((2, 2), (2, 12), (3, 40), (80, 3)):
        cells = pd.DataFrame([["\N{MINUS SIGN}1 [-2, 3]*"] * across] * down)
        sections.append(Section("a_b (p < 0.05)", "layer, 1 to 18", cells))
    tables = latex(sections, "item")
    for name, content in tables.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    inputs = "".join(rf"\input{{{name}}}\clearpage" for name in tables)
    packages = r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}"
    (tmp_path / "main.tex").write_text(rf"{packages}\begin{{document}}{inputs}\end{{document}}", encoding="utf-8")
    options = [] if TEX.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([TEX, *options, "main.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "main.pdf").is_file() and "too large for page" not in done.stdout
