"""The benchmark runs in its smallest form; its figures are never asserted."""

import json
import math
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import ROOT

from bench import sass
from lape.errors import LapeError


@pytest.fixture
def bench(programs):
    """Run a module of the benchmark by a Python that starts at once."""

    def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess:
        command = [programs / "python", "-m", f"bench.{module}", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return run


def test_every_section_is_measured_and_kept(bench, tmp_path):
    done = bench("engine", "--smallest", "--output", tmp_path)
    assert not done.returncode, done.stderr
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    assert file.stem.replace("-", "") in "".join(filter(str.isalnum, content["machine"]["device"]))
    assert content["versions"]["torch"] == torch.__version__
    assert content["versions"]["extension"]["simd"]
    rows = content["rows"]
    # Section 7 shows a finished run, which is not here.
    assert [*dict.fromkeys(row["section"] for row in rows)] == [1, 2, 3, 4, 5, 6, 8, 9, 10]
    for row in rows:
        assert row["what"] in done.stdout
        if row["note"] != "not installed":
            low, median, high = (row["measured"][name] for name in ("low", "median", "high"))
            assert 0 < low <= median <= high < math.inf
    (hooks,) = (row for row in rows if row["what"].endswith("plain hooks"))
    assert "counts equal" in hooks["note"]
    assert {row["what"].split()[0] for row in rows if row["section"] == 4} == {
        "activation_stats",
        "glu_stats",
        "ffn_edit",
        "token_nll",
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_one_line(bench, tmp_path):
    done = bench("engine", "--smallest", "--device", "cuda", "--output", tmp_path)
    assert done.returncode and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("bench: device 'cuda'")
    assert not [*tmp_path.iterdir()]


def test_a_wrong_count_is_never_timed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench import passes
    from bench.setting import setting

    def wrong(model, batches):
        statistics = record(model, batches)
        statistics.count[0, 0] += 1
        return statistics

    record = passes.record_statistics
    monkeypatch.setattr(passes, "record_statistics", wrong)
    this = setting("cpu", smallest=True)
    with pytest.raises(LapeError, match="1 counts differ"):
        passes.pass_rows(this.passes[0], this)


def test_contenders_take_turns(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench.timing import alternate

    called = []

    def contender(name: str, seconds: float):
        return lambda: (called.append(name), time.sleep(seconds))

    seconds = alternate({"a": contender("a", 0.06), "b": contender("b", 0.12)}, 2, "cpu")
    assert "".join(called) == "abababab"[: len(called)] and len(called) == 6
    assert np.all(seconds["a"] >= 0.06) and np.all(seconds["b"] >= 0.12)


def test_a_short_contender_is_called_often_and_timed_by_the_call(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench.timing import alternate

    called = []
    (seconds,) = alternate({"a": lambda: (called.append(0), time.sleep(0.005))}, 1, "cpu").values()
    assert len(called) > 3
    assert 0.005 <= seconds[0] < 0.05


def test_scaling_measures_every_stage_but_the_dry_run(bench, tmp_path):
    stages = ("tokens", "statistics", "perplexity", "selection", "generation", "average precision")
    done = bench("scaling", "--smallest", "--only", *stages, "--output", tmp_path / "s.json")
    assert not done.returncode, done.stderr
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert {row["stage"] for row in rows} == set(stages)
    for row in rows:
        assert f"| {row['stage']} | {row['values'][0]:,} to {row['values'][1]:,} {row['axis']}" in done.stdout
        assert min(row["seconds"]) > 0 and min(row["peak"]) > 0
        assert math.isfinite(row["exponent"])


def test_an_exponent_is_the_slope_between_the_largest(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench.scaling import exponent

    assert exponent([1, 10, 100], [5, 2, 20]) == pytest.approx(1)
    assert exponent([1, 2, 4], [1, 1, 4]) == pytest.approx(2)


def test_the_start_of_commands_is_measured_beside_another_checkout(bench, tmp_path):
    words = ("--turns", "2", "--only", "python", "help", "--beside", ROOT)
    done = bench("startup", *words, "--output", tmp_path / "s.json")
    assert not done.returncode, done.stderr
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["python", "help"]
    for row in rows:
        assert f"| {row['what']} |" in done.stdout
        for checkout in ("before", "now"):
            assert 0 < row[checkout]["low"] <= row[checkout]["median"] <= row[checkout]["high"]


def test_a_folder_that_is_no_checkout_is_refused(bench, tmp_path):
    done = bench("startup", "--only", "help", "--beside", tmp_path, "--output", tmp_path / "s")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"bench: {tmp_path}: is no checkout")


def test_identifiers_are_right_where_they_say_the_language_and_are_timed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from bench import identification

    texts = {
        "fr": ["La petite maison est près de la rivière. Chaque fenêtre s'ouvre sur une lumière très claire. " * 40],
        "de": [
            "Die Bibliothek öffnet jeden Morgen um neun Uhr. Am Sonntag bleibt sie für alle geschlossen. " * 40,
            "x",
        ],
        "sv": ["Il fait très beau ce matin, et tout le monde se promène au bord de la mer avec ses enfants. " * 40],
    }
    assert identification.beginning("a b, ça va", 6) == "a b, ça v" and identification.beginning("ça", 4) is None
    content = identification.measured(["fasttext"], texts)
    assert [(row["length"], row["texts"]) for row in content["accuracy"]] == [(20, 3), (50, 3), (100, 3), (200, 3)]
    row = content["accuracy"][-1]
    assert row["by_language"] == {"fr": 1, "de": 1, "sv": 0} and row["mistakes"] == {
        "fr": {},
        "de": {},
        "sv": {"fr": 1},
    }
    assert row["accuracy"] == 2 / 3 and 0 < row["low"] < 2 / 3 < row["high"] < 1
    (row,) = content["speed"]
    assert content["pages"] == 3 and row["documents"]["texts"] == 4
    assert row["cleaning"]["median"] > 0 < row["whole"]["median"] and row["start"]["bytes"] > 1e6
    table = identification.markdown(content)
    assert "| worst at 200 | sv 0%, most often fr; fr 100% |" in table and "| 200 | 66.7% (" in table


# A loop of two values. A rare branch does some work of its own, and another leaves out a value.
LISTING = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;     /* 0x00 */
        /*0010*/                   LDG.E.128 R4, [R2.64] ;    /* 0x00 */
        /*0020*/                   BSSY B0, 0x80 ;            /* 0x00 */
        /*0030*/              @!P0 BRA 0x70 ;                 /* 0x00 */
        /*0040*/                   MUFU.EX2 R5, R4 ;          /* 0x00 */
        /*0050*/                   F2F.F64.F32 R6, R5 ;       /* 0x00 */
        /*0060*/                   DADD R8, R6, R8 ;          /* 0x00 */
        /*0070*/                   BSYNC B0 ;                 /* 0x00 */
        /*0080*/              @!P1 BRA 0xb0 ;                 /* 0x00 */
        /*0090*/                   FMUL R4, R4, R4 ;          /* 0x00 */
        /*00a0*/                   FADD R4, R4, 1 ;           /* 0x00 */
        /*00b0*/                   MUFU.EX2 R5, R4 ;          /* 0x00 */
        /*00c0*/               @P2 BRA 0x10 ;                 /* 0x00 */
        /*00d0*/                   EXIT ;                     /* 0x00 */
        /*00e0*/                   BRA 0xe0;                  /* 0x00 */
"""


def test_a_pass_is_the_cheapest_way_round_a_loop_that_does_its_work():
    code = sass.instructions(LISTING)
    passed = sass.one_pass(code, sass.Loop("", 2, {r"MUFU\.EX2": 2, r"LDG": 1}))
    assert [text.split()[0] for text in passed] == [
        *("LDG.E.128", "BSSY", "BRA", "MUFU.EX2", "F2F.F64.F32", "DADD", "BSYNC", "BRA", "MUFU.EX2", "BRA"),
    ]
    assert sum(map(sass.is_float64, passed)) == 1 and sum(map(sass.is_conversion, passed)) == 1
    assert len(sass.one_pass(code, sass.Loop("", 1, {r"MUFU\.EX2": 1, r"LDG": 1}))) == 7
    with pytest.raises(ValueError, match="work of 3 values"):
        sass.one_pass(code, sass.Loop("", 3, {r"MUFU\.EX2": 3, r"LDG": 1}))


def test_a_number_that_rose_is_one_line():
    before = {"a": {"instructions": 4.8, "registers": 100}, "b": {"instructions": 3}}
    assert sass.risen(before, before) == []
    (line,) = sass.risen({"a": {"instructions": 4.9, "registers": 90}}, before)
    assert line == "a: 4.9 instructions, and 4.8 in sass.json"
    assert len(sass.risen({"c": {"instructions": 1}}, before)) == 1


def test_every_counted_loop_has_a_row():
    assert {*sass.read()[1]} == {*sass.LOOPS}
