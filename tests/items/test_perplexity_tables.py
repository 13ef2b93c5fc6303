"""Tables of perplexity: exact cells of small artifacts with chunks, their tests, and what is refused."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from neuron_artifacts import neurons_header

from lape.artifacts.files import sha256
from lape.cli import main
from lape.errors import LapeError
from lape.evaluation.uncertainty import change_interval, resamples
from lape.items.figures import draw
from lape.items.registry import TABLES
from lape.items.tables import read, texts

# "no" and "nan" are languages that a careless reader takes for missing values.
LANGUAGES = ["no", "nan"]
CHUNKS = 8
RISES = {"no": [2.5, 0.5], "nan": [0.125, 4.0]}
WEAK = {"no": [0.02, 0.01], "nan": [0.125, 0.05]}


def row(folder, method, deactivated, rises, model="tiny", languages=LANGUAGES, chunks=CHUNKS, ratio=None, tokens=100):
    """One row of a matrix: mean rises over a baseline of 2, 3, ... nats per token, which differ between chunks."""
    lines, measures = [], []
    for place, (language, rise) in enumerate(zip(languages, rises, strict=True)):
        rng = np.random.default_rng([len(model), *language.encode()])
        level, share = 2 + place + 0.2 * rng.standard_normal(chunks), rng.gamma(9, 1 / 9, chunks)
        sizes = rng.integers(350, 450, chunks)
        # Where nothing is deactivated the rise is 0; else chunks differ in how much they suffer, not alike in all rows.
        wobble = 1 + 0.1 * np.random.default_rng([*method.encode(), *deactivated.encode()]).standard_normal(chunks)
        nll = tokens * (level + rise * share * wobble)
        lines += [
            {"evaluated": language, "chunk": chunk, "tokens": tokens, "nll": value, "bytes": size}
            for chunk, (value, size) in enumerate(zip(nll, sizes, strict=True))
        ]
        total, mean = math.fsum(nll), math.fsum(nll) / tokens / chunks
        bits = total / math.log(2) / int(sizes.sum())
        own = {"evaluated": language, "tokens": tokens * chunks, "bytes": int(sizes.sum())}
        measures.append({**own, "nll": mean, "ppl": math.exp(mean), "bits_per_byte": bits})
    path = folder / f"{model}-{method}-{deactivated}-{ratio}.json"
    pd.DataFrame(lines).to_csv(path.with_suffix(".tsv"), sep="\t", index=False)
    header = {"artifact": "perplexity", "model": model, "method": method, "deactivated": deactivated, "ratio": ratio}
    hooks = {} if deactivated == "baseline" else {"neurons": 10 + round(1000 * (ratio or 0))}
    header |= {"languages": languages, "rows": measures, "hooks": hooks}
    path.write_text(json.dumps(header | {"outputs": {path.with_suffix(".tsv").name: sha256(path.with_suffix(".tsv"))}}))
    return path


def matrix(folder, method, rises, **options):
    return [row(folder, method, name, values, **options) for name, values in rises.items()]


def baseline(folder, languages=LANGUAGES, **options):
    return row(folder, "none", "baseline", [0] * len(languages), languages=languages, **options)


@pytest.fixture
def headers(tmp_path):
    """One model's baseline, LAPE's matrix and its control's, in an order that is not the paper's."""
    lape, control = matrix(tmp_path, "lape", RISES), matrix(tmp_path, "active_lape", WEAK)
    return [lape[1], control[0], baseline(tmp_path), lape[0], control[1]]


def chunk_columns(path, language):
    frame = pd.read_csv(path.with_suffix(".tsv"), sep="\t", keep_default_na=False)
    return frame[frame["evaluated"] == language]


def test_every_cell_stands_beside_its_baseline_in_the_languages_order(tmp_path, headers):
    frame = TABLES["deactivation_matrix"].rows(headers, resamples=100, seed=0)
    assert frame[["method", "deactivated", "evaluated"]].to_numpy().tolist() == [
        [method, deactivated, evaluated]
        for method in ("lape", "active_lape")
        for deactivated in LANGUAGES
        for evaluated in LANGUAGES
    ]
    columns = "model,method,deactivated,evaluated,tokens,chunks,nll,ppl,bits_per_byte,baseline_nll,baseline_ppl"
    columns += ",baseline_bits_per_byte,ppl_change,ppl_change_low,ppl_change_high,nll_change,nll_change_low"
    columns += ",nll_change_high,bits_change,bits_change_low,bits_change_high,control_method,control_nll,p_value,p_holm"
    assert ",".join(frame.columns) == columns
    assert set(frame["tokens"]) == {800} and set(frame["chunks"]) == {CHUNKS}

    base = {one["evaluated"]: one for one in json.loads(headers[2].read_text())["rows"]}
    own = {one["evaluated"]: one for one in json.loads(headers[0].read_text())["rows"]}
    cell = frame.set_index(["method", "deactivated", "evaluated"]).loc[("lape", "nan", "no")]
    for change, measure in {"nll_change": "nll", "ppl_change": "ppl", "bits_change": "bits_per_byte"}.items():
        assert cell[measure] == own["no"][measure]
        assert cell[f"baseline_{measure}"] == base["no"][measure]
        assert cell[change] == own["no"][measure] - base["no"][measure]
        assert cell[f"{change}_low"] < cell[change] < cell[f"{change}_high"]


def test_intervals_are_over_the_chunks_that_pair_whatever_their_order(tmp_path, headers):
    draws = resamples(CHUNKS, 150, [3, *b"no"])
    own, base = chunk_columns(headers[0], "no"), chunk_columns(headers[2], "no")
    both = own["nll"].to_numpy(), base["nll"].to_numpy()
    tokens, text_bytes = base["tokens"].to_numpy(float), base["bytes"].to_numpy(float)
    expected = {
        "ppl_change": change_interval(*both, tokens, draws, perplexity=True),
        "nll_change": change_interval(*both, tokens, draws),
        "bits_change": change_interval(*both, text_bytes * math.log(2), draws),
    }
    # A file whose lines come in another order tells the same.
    shuffled = pd.read_csv(headers[0].with_suffix(".tsv"), sep="\t", keep_default_na=False).sample(frac=1)
    shuffled.to_csv(headers[0].with_suffix(".tsv"), sep="\t", index=False)
    headers[0].write_text(json.dumps(json.loads(headers[0].read_text()) | {"outputs": {}}))
    frame = TABLES["deactivation_matrix"].rows(headers, resamples=150, seed=3)
    cell = frame.set_index(["method", "deactivated", "evaluated"]).loc[("lape", "nan", "no")]
    for change, bounds in expected.items():
        assert (cell[f"{change}_low"], cell[f"{change}_high"]) == pytest.approx(bounds, rel=1e-9)


def test_a_cells_interval_does_not_depend_on_the_other_languages(tmp_path, headers):
    names = ["xx", *LANGUAGES]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    two = matrix(tmp_path / "a", "lape", {"no": [1, 1], "nan": [1, 1]})
    three = matrix(tmp_path / "b", "lape", {name: [1, 1, 1] for name in names}, languages=names)
    few = TABLES["deactivation_by_method"].rows([*two, baseline(tmp_path / "a")])
    more = TABLES["deactivation_by_method"].rows([*three, baseline(tmp_path / "b", names)])
    # The level of a language's NLL differs between the two: the rise does not.
    bounds = ["nll_change_low", "nll_change_high"]
    more = more.set_index(["deactivated", "evaluated"]).loc[list(itertools.product(LANGUAGES, LANGUAGES)), bounds]
    np.testing.assert_allclose(few[bounds], more, rtol=1e-9)


def test_every_cell_is_tested_against_its_control_and_corrected_over_the_matrix(tmp_path, headers):
    frame = TABLES["deactivation_matrix"].rows(headers)
    lape, control = frame[:4], frame[4:]
    assert control[["control_nll", "p_value", "p_holm"]].isna().all(axis=None)
    assert lape["control_nll"].tolist() == control["nll"].tolist()
    expected = []
    for own, other in ((headers[3], headers[1]), (headers[0], headers[4])):
        for language in LANGUAGES:
            pairs = zip(chunk_columns(own, language)["nll"], chunk_columns(other, language)["nll"], strict=True)
            differences = [one - another for one, another in pairs]
            sums = [
                abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
                for signs in itertools.product((1, -1), repeat=CHUNKS)
            ]
            expected.append(sum(total >= abs(sum(differences)) * (1 - 1e-12) for total in sums) / 2**CHUNKS)
    assert lape["p_value"].tolist() == pytest.approx(expected)
    # All of the same sign in every chunk: the smallest p-value that eight chunks give, and four cells.
    assert lape["p_value"].iat[0] == 2**-7
    assert lape["p_holm"].iat[0] == 4 * 2**-7
    assert (lape["p_holm"] >= lape["p_value"]).all()


def test_what_suffers_less_than_under_the_control_is_not_marked(tmp_path):
    paths = [baseline(tmp_path), *matrix(tmp_path, "lape", WEAK), *matrix(tmp_path, "active_lape", RISES)]
    frame = TABLES["deactivation_by_method"].rows(paths)
    assert (frame["p_holm"] < 0.05).any()
    assert "*" not in "".join(TABLES["deactivation_by_method"].sections(frame)[0].cells.to_numpy().ravel())
    overview = TABLES["deactivation_matrix"].sections(TABLES["deactivation_matrix"].rows(paths))[0].cells
    ends = ["significant on diagonal", "significant off diagonal"]
    assert overview.loc["lape", ends].tolist() == ["0 of 2", "0 of 2"]


def test_too_few_chunks_count_no_significant_cell(tmp_path):
    few = {"chunks": 6}  # the smallest p-value is 1/32, and four cells are corrected for
    paths = [baseline(tmp_path, **few), *matrix(tmp_path, "lape", RISES, **few)]
    frame = TABLES["deactivation_matrix"].rows([*paths, *matrix(tmp_path, "active_lape", WEAK, **few)])
    overview = TABLES["deactivation_matrix"].sections(frame)[0].cells
    assert overview.at["lape", "significant on diagonal"] == ""


def test_rows_of_several_ratios_are_no_matrix(tmp_path):
    rows = [row(tmp_path, "lape", name, RISES[name], ratio=ratio) for name, ratio in (("no", 0.01), ("nan", 0.1))]
    with pytest.raises(LapeError, match=r"rows of the ratios .* are no matrix; pass those of one"):
        TABLES["deactivation_by_method"].rows([baseline(tmp_path), *rows])


def test_a_control_alone_is_a_matrix_like_others(tmp_path):
    paths = [baseline(tmp_path), *matrix(tmp_path, "active_lape", WEAK), *matrix(tmp_path, "random", WEAK)]
    frame = TABLES["deactivation_random"].rows(paths)
    assert frame["method"].unique().tolist() == ["active_lape", "random"]
    assert frame["p_value"].isna().all()
    titles = [section.title for section in TABLES["deactivation_random"].sections(frame)]
    assert sum("tiny, active_lape" in title for title in titles) == 3
    assert not any("suffers more" in title for title in titles if "every matrix" not in title)


def test_models_keep_the_order_of_the_inputs_and_their_matrices_stay_together(tmp_path, headers):
    other = [baseline(tmp_path, model="a-second"), *matrix(tmp_path, "lave", RISES, model="a-second")]
    frame = TABLES["deactivation_by_method"].rows([*headers[:3], *other, *headers[3:]])
    assert frame["model"].tolist() == ["tiny"] * 8 + ["a-second"] * 4
    assert frame["method"].unique().tolist() == ["lape", "active_lape", "lave"]


@pytest.mark.parametrize(
    ("lacking", "named"),
    [(0, "tiny, lape, nan deactivated"), (1, "tiny, active_lape, no deactivated"), (2, "tiny, baseline")],
)
def test_a_missing_row_is_named(headers, lacking, named):
    del headers[lacking]
    for item in ("deactivation_by_method", "specificity"):
        with pytest.raises(LapeError, match=f"perplexity of {named}: missing; run "):
            TABLES[item].rows(headers)


def test_a_missing_cell_is_named(headers):
    header = json.loads(headers[0].read_text())
    headers[0].write_text(json.dumps(header | {"rows": header["rows"][:1]}))
    with pytest.raises(LapeError, match="tiny, lape, nan deactivated, nan evaluated: missing; run"):
        TABLES["deactivation_by_method"].rows(headers)


def test_duplicates_strangers_and_other_languages_are_refused(tmp_path, headers):
    rows = TABLES["deactivation_by_method"].rows
    with pytest.raises(LapeError, match="tiny, lape, nan deactivated: comes twice; pass"):
        rows([*headers, headers[0]])
    with pytest.raises(LapeError, match="tiny, baseline: comes twice; pass"):
        rows([*headers, headers[2]])
    with pytest.raises(LapeError, match="'xx' is not among its languages; run"):
        rows([*headers, row(tmp_path, "lape", "xx", [1, 1])])
    with pytest.raises(LapeError, match="other languages here than in the other inputs; measure"):
        rows([*headers, row(tmp_path, "lave", "no", [1, 1], languages=["nan", "no"])])
    with pytest.raises(LapeError, match="there is no matrix; pass"):
        rows([headers[2]])


@pytest.mark.parametrize(("method", "named"), [("lape", "tiny-none-baseline"), ("active_lape", "tiny-active_lape-nan")])
@pytest.mark.parametrize("other", [{"tokens": 50}, {"chunks": 7}])
def test_runs_on_other_chunks_are_refused(tmp_path, headers, method, named, other):
    assert row(tmp_path, method, "nan", [1, 1], **other) in headers  # in the place of the fixture's
    fault = rf"lape, nan deactivated, no evaluated: measured on other chunks than .*{named}-None\.json; run"
    with pytest.raises(LapeError, match=fault):
        TABLES["deactivation_by_method"].rows(headers)


def test_chunks_must_be_those_that_the_header_was_written_for(headers):
    table = headers[0].with_suffix(".tsv")
    whole = table.read_text()
    table.write_text("\n".join(whole.splitlines()[:-1]) + "\n")
    with pytest.raises(LapeError, match=r"nan-None\.tsv: is not the file that .* was written for; run"):
        TABLES["deactivation_by_method"].rows(headers)
    headers[0].write_text(json.dumps(json.loads(headers[0].read_text()) | {"outputs": {}}))
    for text, match in (
        ("\n".join(line for line in whole.splitlines() if not line.startswith("no\t")), "has no chunk of no; run"),
        ("evaluated\tchunk\nno\t0\n", "is not a table of chunks .*; run"),
        ("", "is not a table of chunks .*; run"),
    ):
        table.write_text(text)
        with pytest.raises(LapeError, match=match):
            TABLES["deactivation_by_method"].rows(headers)
    table.unlink()
    with pytest.raises(LapeError, match=r"nan-None\.tsv: cannot be read .*; run"):
        TABLES["deactivation_by_method"].rows(headers)


def test_the_header_of_another_stage_is_refused(tmp_path, headers):
    neurons = tmp_path / "neurons.json"
    neurons.write_text('{"artifact": "neurons"}')
    with pytest.raises(LapeError, match="'neurons', not of 'perplexity'"):
        TABLES["deactivation_by_method"].rows([*headers, neurons])
    with pytest.raises(LapeError, match="'perplexity', not of 'neurons'"):
        TABLES["neurons_per_language"].rows(headers[:1])


def test_with_few_chunks_there_is_no_interval(tmp_path):
    paths = [baseline(tmp_path, chunks=3), *matrix(tmp_path, "lape", RISES, chunks=3)]
    frame = TABLES["deactivation_by_method"].rows(paths)
    assert frame["ppl_change"].notna().all()
    assert frame[["ppl_change_low", "bits_change_high"]].isna().all(axis=None)
    assert "[" not in texts("deactivation_by_method", frame)[".md"].replace("[95% interval]", "")
    table = tmp_path / "deactivation_by_method.csv"
    table.write_text(texts("deactivation_by_method", frame)[".csv"])
    pd.testing.assert_frame_equal(read(table, ["p_holm"]), frame, check_exact=True)


def test_baseline_needs_no_matrix_and_no_chunks(tmp_path, headers):
    for path in headers:
        path.with_suffix(".tsv").unlink()
    frame = TABLES["baseline"].rows(headers)
    assert ",".join(frame.columns) == "model,language,tokens,nll,ppl,bytes,bits_per_byte"
    expected = json.loads(headers[2].read_text())["rows"]
    assert frame["language"].tolist() == LANGUAGES
    assert frame["nll"].tolist() == [one["nll"] for one in expected]
    assert frame["bytes"].tolist() == [one["bytes"] for one in expected]
    with pytest.raises(LapeError, match="tiny, baseline: missing; run"):
        TABLES["baseline"].rows(headers[:2])


def test_a_sweep_rises_from_the_baseline(tmp_path):
    base = baseline(tmp_path)
    paths = [row(tmp_path, "lape", "nan", [10 * ratio, 50 * ratio], ratio=ratio) for ratio in (0.05, 0.01)]
    frame = TABLES["deactivation_by_ratio"].rows([*paths, base], resamples=100, seed=0)
    assert frame["ratio"].tolist() == [0, 0, 0.01, 0.01, 0.05, 0.05]
    assert frame["neurons"].tolist() == [0, 0, 20, 20, 60, 60]
    assert frame["evaluated"].tolist() == LANGUAGES * 3
    assert set(frame["deactivated"]) == {"nan"}
    changes = [f"{change}{bound}" for change in ("ppl_change", "nll_change") for bound in ("", "_low", "_high")]
    assert (frame.loc[:1, changes] == 0).all(axis=None)
    measured = json.loads(paths[0].read_text())["rows"][1]["ppl"]
    assert frame["ppl"].iat[5] == measured
    assert frame["ppl_change"].iat[5] == measured - json.loads(base.read_text())["rows"][1]["ppl"]
    assert frame["ppl_change_low"].iat[5] < frame["ppl_change"].iat[5] < frame["ppl_change_high"].iat[5]
    sections = TABLES["deactivation_by_ratio"].sections(frame)
    assert [section.cells.index.tolist() for section in sections] == [["0%", "1%", "5%"]] * 2
    assert sections[0].cells["neurons"].tolist() == ["0", "20", "60"]

    rows = TABLES["deactivation_by_ratio"].rows
    with pytest.raises(LapeError, match=r"at ratio 0\.01: comes twice; pass"):
        rows([base, *paths, paths[1]])
    with pytest.raises(LapeError, match="names no ratio of LAPE; pass"):
        rows([base, row(tmp_path, "lap", "nan", [1, 1])])
    with pytest.raises(LapeError, match="only the baseline; pass"):
        rows([base])


def test_scores_of_each_matrix_in_the_order_given(tmp_path, headers):
    frame = TABLES["specificity"].rows(headers, resamples=200, seed=0, related="no+nan,zh+ja")
    assert frame[["method", "cells"]].to_numpy().tolist() == [
        [method, cells] for method in ("lape", "active_lape") for cells in ("all", "without related pairs")
    ]
    cells = TABLES["deactivation_matrix"].rows(headers)
    for method, line in frame[frame["cells"] == "all"].set_index("method").iterrows():
        own = cells[cells["method"] == method].set_index(["deactivated", "evaluated"])["nll_change"]
        on, off = own["no", "no"] + own["nan", "nan"], own["no", "nan"] + own["nan", "no"]
        # A rise below 0.01 counts as 0.01.
        floored = own.clip(lower=0.01).map(math.log)
        ratio = (floored["no", "no"] - floored["no", "nan"] + floored["nan", "nan"] - floored["nan", "no"]) / 2
        assert line[["diagonal", "off_diagonal", "share", "log_ratio"]].tolist() == pytest.approx(
            [on / 2, off / 2, on / (on + off), ratio]
        )
        assert line["share_chunks_low"] < line["share"] < line["share_chunks_high"]
        assert line[["share_low", "log_ratio_high"]].isna().all()  # of two languages none can be left out
    assert frame["largest"].tolist() == [2, 0, 1, 0]
    # Without its only pair the matrix has no cell off the diagonal.
    assert frame["off_diagonal"].isna().tolist() == [False, True, False, True]
    markdown = texts("specificity", frame)[".md"]
    assert f"{frame['share'].iat[0]:.0%} (" in markdown and "nan" not in markdown.replace("`nan`", "")
    with pytest.raises(LapeError, match=r"--related zh: is no pair of languages; write pairs such as zh.ja"):
        TABLES["specificity"].rows(headers, related="zh")


def test_a_fall_counts_as_no_rise_in_the_share(tmp_path):
    gains = {"no": [1.0, -0.2], "nan": [-0.1, 2.0]}
    paths = [baseline(tmp_path), *matrix(tmp_path, "lape", gains)]
    frame = TABLES["specificity"].rows(paths)
    assert frame["share"].tolist() == [1.0] and frame["off_diagonal"].iat[0] < 0


def test_variants_stand_beside_the_run_with_what_they_share_of_it(tmp_path):
    folders = {
        f"{kind}/{name}": tmp_path / kind / name for kind in ("p", "n") for name in ("tiny", "tiny@text", "tiny@mean")
    }
    for folder in folders.values():
        (folder / "lape").mkdir(parents=True)
    run = [baseline(folders["p/tiny"] / "lape"), *matrix(folders["p/tiny"] / "lape", "lape", RISES)]
    text = [
        baseline(folders["p/tiny@text"] / "lape", chunks=6),
        *matrix(folders["p/tiny@text"] / "lape", "lape", WEAK, chunks=6),
    ]
    mean = matrix(folders["p/tiny@mean"] / "lape", "lape", RISES)
    owners = {(0, 1): "no", (1, 2): "nan", (2, 3): "no,nan"}
    neurons = [
        neurons_header(folders["n/tiny"], "tiny", owners),
        neurons_header(folders["n/tiny@text"], "tiny", {**owners, (3, 3): "no", (3, 4): "no"}),
    ]
    frame = TABLES["robustness"].rows([*neurons, *run, *text, *mean], resamples=200).set_index("variant")
    assert frame[["selected", "evaluated"]].to_numpy().tolist() == [["own", "own"], ["own", "own"], ["run", "run"]]
    assert frame["neurons"].tolist() == [3, 5, 3] and frame["jaccard"].tolist() == [1, 0.6, 1]
    for name, paths in {"run": run, "text": text, "mean": [run[0], *mean]}.items():
        (line,) = TABLES["specificity"].rows(paths, resamples=200).to_dict("records")
        assert {
            key: frame.loc[name, key] for key in ("share", "log_ratio_chunks_high", "largest")
        }.items() <= line.items()
    assert "| text " in texts("robustness", frame.reset_index())[".md"]
    drawn = draw("robustness", frame.reset_index())
    assert len(drawn.axes[1].patches) == 1  # the one that selects neurons of its own
    for lacking, named in (
        ([*neurons, *run[1:], *text], "without deactivation"),
        ([*neurons[1:], *run], "LAPE's neurons"),
    ):
        with pytest.raises(LapeError, match=f"robustness: .*{named}"):
            TABLES["robustness"].rows(lacking)


def draws_header(folder, language, rises, method="lape", **options):
    """Further draws of a control: mean rises over the baseline of `row`, one per draw."""
    lines, place = [], LANGUAGES.index(language)
    for seed, rise in enumerate(rises, start=1):
        nll = [value if other == place else 0 for other, value in enumerate([rise] * len(LANGUAGES))]
        frame = chunk_columns(row(folder, f"draw{seed}", language, nll, **options), language)
        lines.append(frame.assign(seed=seed)[["seed", "chunk", "tokens", "nll", "bytes"]])
    path = folder / f"draws-{method}-{language}.json"
    pd.concat(lines).to_csv(path.with_suffix(".tsv"), sep="\t", index=False)
    header = {"artifact": "draws", "model": "tiny", "method": method, "language": language}
    path.write_text(json.dumps(header | {"outputs": {path.with_suffix(".tsv").name: sha256(path.with_suffix(".tsv"))}}))
    return path


def test_a_method_stands_beside_every_draw_of_its_control(tmp_path, headers):
    further = {"no": [0.03, 0.01, 0.02] * 3, "nan": [0.04, 5.0, 0.06] * 3}
    paths = [*headers, *(draws_header(tmp_path, *each) for each in further.items())]
    frame = TABLES["control_draws"].rows(paths)
    assert frame[["method", "language", "draws"]].to_numpy().tolist() == [["lape", "no", 10], ["lape", "nan", 10]]
    cells = TABLES["deactivation_matrix"].rows(headers).set_index(["method", "deactivated", "evaluated"])["nll_change"]
    for line in frame.to_dict("records"):
        first = cells["active_lape", line["language"], line["language"]]
        assert line["rise"] == pytest.approx(cells["lape", line["language"], line["language"]])
        assert line["control_low"] <= first <= line["control_high"]
        assert line["difference"] == pytest.approx(line["rise"] - line["control_rise"])
        assert line["difference_low"] < line["difference"] < line["difference_high"]
    assert frame["rank"].tolist() == [1, 4] and frame["p_rank"].tolist() == [1 / 11, 4 / 11]
    assert frame.at[0, "p_holm"] < 0.05
    (section,) = TABLES["control_draws"].sections(frame)
    stars = section.cells["difference [95% interval]"].str.endswith("*")
    assert stars.tolist() == [True, False] and section.cells.at["nan", "rank"] == "4 of 11"
    with pytest.raises(LapeError, match="draws of tiny, lape, nan: missing; run `lape draws` for it"):
        TABLES["control_draws"].rows(paths[:-1])
    with pytest.raises(LapeError, match="was measured on other chunks than the matrices; run"):
        TABLES["control_draws"].rows([*paths[:-1], draws_header(tmp_path, "nan", [0.1], chunks=6)])


def trained(path, steps, examples=48):
    """A row of parameters, from one of neurons."""
    header = json.loads(path.read_text()) | {"training": {"steps": steps, "examples": examples}}
    target = path.with_name(f"{path.stem}-{steps}.json")
    path.with_suffix(".tsv").rename(target.with_suffix(".tsv"))
    digest = sha256(target.with_suffix(".tsv"))
    target.write_text(json.dumps(header | {"outputs": {target.with_suffix(".tsv").name: digest}}))
    return target


def test_pv_learns_with_steps(tmp_path):
    at = {3: {"no": [0.5, 0.25], "nan": [0.125, 1.5]}, 12: RISES}
    paths = [trained(path, steps) for steps in (12, 3) for path in matrix(tmp_path, "pv", at[steps])]
    paths += [trained(path, 12) for path in matrix(tmp_path, "active_pv", WEAK)]
    frame = TABLES["pv_learning_curve"].rows([*paths, baseline(tmp_path)])
    assert frame[["method", "steps", "deactivated"]].to_numpy().tolist() == [
        [method, steps, language]
        for method, steps in (("pv", 3), ("pv", 12), ("active_pv", 12))
        for language in (*LANGUAGES, "")
    ]
    cells = TABLES["deactivation_matrix"].rows([baseline(tmp_path), *matrix(tmp_path, "pv", RISES)])
    changes = cells.set_index(["deactivated", "evaluated"])["nll_change"]
    assert "training_steps" not in cells
    beside = TABLES["deactivation_by_method"].rows([*paths[:2], *matrix(tmp_path, "lape", RISES), baseline(tmp_path)])
    assert beside.groupby("method")["training_steps"].first().dropna().to_dict() == {"pv": 12}
    overview = TABLES["deactivation_by_method"].sections(beside)[0].cells
    assert overview.index.tolist() == ["pv (12 training steps, 48 examples per language)", "lape"]
    no, nan, mean = frame.iloc[3:6].to_dict("records")
    assert (no["own"], no["others"]) == pytest.approx((changes["no", "no"], changes["no", "nan"]))
    assert no["difference"] == pytest.approx(no["own"] - no["others"]) and math.isnan(no["own_low"])
    assert mean["own"] == pytest.approx((no["own"] + nan["own"]) / 2)
    # Student's t with one degree of freedom: 12.706 standard errors.
    reach = 12.7062 * abs(no["own"] - nan["own"]) / 2
    assert (mean["own_low"], mean["own_high"]) == pytest.approx((mean["own"] - reach, mean["own"] + reach), rel=1e-4)
    means, own = TABLES["pv_learning_curve"].sections(frame)
    assert means.cells.index.tolist() == ["pv, 3 steps", "pv, 12 steps", "active_pv, 12 steps"]
    assert means.cells["examples per language"].tolist() == ["48"] * 3 and list(own.cells) == LANGUAGES
    with pytest.raises(LapeError, match="pv, no deactivated, after 3 steps: comes twice; pass"):
        TABLES["pv_learning_curve"].rows([*paths, paths[2], baseline(tmp_path)])
    with pytest.raises(LapeError, match="lape, no deactivated: tells no training steps; pass rows of PV"):
        TABLES["pv_learning_curve"].rows([baseline(tmp_path), row(tmp_path, "lape", "no", [1, 1])])


def test_methods_are_compared_with_the_curve_of_lape_at_equal_effect(tmp_path):
    curve = {0.01: [1.0, 0.1], 0.05: [3.0, 1.1]}
    paths = [baseline(tmp_path), *(row(tmp_path, "lape", "no", rises, ratio=at) for at, rises in curve.items())]
    paths += [row(tmp_path, "lave", "no", [2.0, 0.1]), row(tmp_path, "lap", "no", [9.0, 9.0])]
    frame = TABLES["equal_effect"].rows(paths, resamples=200, seed=0).set_index("method")
    assert frame.index.tolist() == ["lape", "lape", "lave", "lap"]
    points = frame[["own", "others"]].to_numpy()
    (first, second), (own, others) = points[:2], points[2]
    at = first[1] + (own - first[0]) / (second[0] - first[0]) * (second[1] - first[1])
    assert frame.loc["lave", "lape_others"] == pytest.approx(at)
    assert frame.loc["lave", "excess"] == pytest.approx(others - at)
    assert frame.loc["lave", "excess_low"] < others - at < frame.loc["lave", "excess_high"] < 0
    assert frame.loc["lap", ["lape_others", "excess", "excess_low"]].isna().all()  # beyond the end of the curve
    (section,) = TABLES["equal_effect"].sections(frame.reset_index())
    assert section.cells.index.tolist() == ["lape, 1%", "lape, 5%", "lave", "lap"]
    with pytest.raises(LapeError, match="no row of LAPE is beside it; pass LAPE's at several ratios"):
        TABLES["equal_effect"].rows([paths[0], *paths[3:]])


def test_tables_for_people_mark_what_differs_and_sum_up_the_controls(headers):
    frame = TABLES["deactivation_by_method"].rows(headers)
    sections = TABLES["deactivation_by_method"].sections(frame)
    assert [section.title.split(",")[0] + section.title.split(",")[1].split(";")[0] for section in sections[1:]] == [
        "tiny lape: PPL change",
        "tiny lape: PPL change [95% interval]",
        "tiny lape: NLL change (nats per token)",
    ]
    overview, plain, intervals, nll = (section.cells for section in sections)
    differs = frame[:4].set_index(["deactivated", "evaluated"])["p_holm"] < 0.05
    assert 0 < differs.sum() < 4
    for (deactivated, evaluated), marked in differs.items():
        for cells in (plain, intervals, nll):
            assert cells.at[deactivated, evaluated].endswith("*") == marked
    assert intervals.at["nan", "nan"].startswith(plain.at["nan", "nan"].rstrip("*") + " [")
    assert overview.index.tolist() == ["lape", "active_lape"]
    assert overview.at["lape", "significant on diagonal"] == "2 of 2"
    assert overview.at["active_lape", "significant on diagonal"] == ""
    # Bits per byte in place of nats where models are compared.
    assert "bits per byte" in TABLES["deactivation_by_model"].sections(frame)[3].title


def test_command_writes_every_form_records_its_parameters_and_repeats_the_bytes(tmp_path, headers, capsys):
    output = tmp_path / "tables" / "deactivation_by_method.csv"
    arguments = [
        "table",
        "deactivation_by_method",
        *map(str, headers),
        "--resamples",
        "200",
        "--seed",
        "5",
        "--output",
        str(output),
    ]
    assert main(arguments) == 0
    frame = TABLES["deactivation_by_method"].rows(headers, resamples=200, seed=5)
    pd.testing.assert_frame_equal(read(output, ["model"]), frame, check_exact=True)

    largest = frame["ppl_change"].max()
    assert f"{largest:.0f}*" in output.with_suffix(".md").read_text()

    header = json.loads(output.with_suffix(".json").read_text())
    assert (header["artifact"], header["item"], header["rows"]) == ("table", "deactivation_by_method", 8)
    assert (header["models"], header["languages"]) == (["tiny"], LANGUAGES)
    assert header["parameters"] == {"resamples": 200, "seed": 5}
    files = [path.with_suffix(suffix) for path in headers for suffix in (".json", ".tsv")]
    assert header["inputs"] == {str(path): sha256(path) for path in files}
    assert set(header["outputs"]) == {
        "deactivation_by_method.csv",
        "deactivation_by_method.md",
        "deactivation_by_method.html",
        *(f"deactivation_by_method.latex/deactivation_by_method-{number}.tex" for number in range(1, 5)),
    }
    # What the audit does.
    again = texts("deactivation_by_method", TABLES["deactivation_by_method"].rows(headers, **header["parameters"]))
    assert {suffix: Path(f"{output.with_suffix('')}{suffix}").read_text() for suffix in again} == again

    before = {path.name: path.read_bytes() for path in output.parent.rglob("*.*") if path.is_file()}
    assert main(arguments) == 0
    assert before == {path.name: path.read_bytes() for path in output.parent.rglob("*.*") if path.is_file()}
    assert main([*arguments, "--seed", "6"]) == 0
    assert before["deactivation_by_method.csv"] != output.read_bytes()

    for wrong in (["--resamples", "0"], ["--seed", "-1"]):
        assert main([*arguments, *wrong]) == 1
        assert capsys.readouterr().err.strip().endswith("correct them")
    # An item without intervals has no such parameters.
    assert main(["table", "baseline", str(headers[2]), "--output", str(tmp_path / "baseline.csv")]) == 0
    assert json.loads((tmp_path / "baseline.json").read_text())["parameters"] == {}
