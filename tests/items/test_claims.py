"""Claims: what each statistic is on small tables, and which verdict an interval gives."""

import json

import numpy as np
import pandas as pd
import pytest
from neuron_artifacts import neurons_header

from lape.artifacts.files import sha256
from lape.errors import LapeError
from lape.items.claims.verdict import FAILS, HOLDS, OPEN, above, below, mean_interval, outer_thirds
from lape.items.registry import TABLES

LANGUAGES = ["en", "zh", "fr", "ja"]


def table_header(folder, item, rows):
    """A table as `lape table` writes it."""
    path = folder / f"{item}.json"
    pd.DataFrame(rows).to_csv(path.with_suffix(".csv"), index=False)
    outputs = {f"{item}.csv": sha256(path.with_suffix(".csv"))}
    path.write_text(json.dumps({"artifact": "table", "item": item, "outputs": outputs}))
    return path


def verdicts(*paths):
    return TABLES["claims"].rows(paths).set_index("claim")


def test_a_verdict_is_the_side_of_the_whole_interval():
    assert [above(0, *bounds) for bounds in ((0.1, 2), (-2, -0.1), (-1, 1), (np.nan, np.nan))] == [
        HOLDS,
        FAILS,
        OPEN,
        OPEN,
    ]
    assert (below(0.5, 0.1, 0.4), below(0.5, 0.6, 0.9), below(0.5, 0.4, 0.6)) == (HOLDS, FAILS, OPEN)
    assert mean_interval(np.array([1.0, 2.0, 3.0]))[0] == 2 and np.isnan(mean_interval(np.arange(3))[1])


def test_the_outer_thirds_of_layers():
    u = np.array([9, 8, 7, 0, 0, 0, 1, 0, 0, 5, 8, 9.0])
    share, expected, p_value = outer_thirds(u)
    assert (share, expected) == (46 / 47, 8 / 12) and p_value < 0.05
    assert outer_thirds(u[[4, 5, 6, 7, 0, 1, 2, 11, 10, 9, 8, 3]])[2] > 0.9
    assert outer_thirds(np.ones(12))[::2] == (8 / 12, 1)


def test_claims_on_scores_and_draws(tmp_path):
    score = {"model": "tiny", "method": "lape", "cells": "all", "languages": 4, "largest": 3}
    score |= {"share": 0.8, "share_low": 0.6, "share_high": 0.9}
    draws = [
        {"model": "tiny", "method": "lape", "language": name, "difference": value}
        for name, value in zip(LANGUAGES, (0.1, 2, 1, 3), strict=True)
    ]
    found = verdicts(table_header(tmp_path, "specificity", [score]), table_header(tmp_path, "control_draws", draws))
    specific = found.loc["deactivating a language's neurons hurts that language, and others little"]
    assert (specific["value"], specific["low"], specific["verdict"]) == (0.8, 0.6, HOLDS)
    assert found.loc["every language suffers most from the loss of its own neurons", "verdict"] == FAILS
    above_control = found.loc["language-specific neurons matter more to their language than other neurons"]
    assert above_control["value"] == pytest.approx(1.525) and above_control["verdict"] == OPEN
    assert found["verdict"].iat[-1] == OPEN  # one model has one size


def test_claims_on_zh_and_ja(tmp_path):
    rises = {("zh", "ja"): 0.7, ("ja", "zh"): 0.05}
    cells = [
        {"model": "tiny", "method": "lape", "deactivated": one, "evaluated": other, "nll": 2.0, "control_nll": 1.9}
        | {"nll_change": rise, "nll_change_low": rise - 0.01, "nll_change_high": rise + 0.01, "p_holm": 0.01}
        for one in LANGUAGES
        for other in LANGUAGES
        for rise in [rises.get((one, other), 0.1)]
    ]
    found = verdicts(table_header(tmp_path, "deactivation_matrix", cells))
    assert found.loc["without the neurons of zh, ja suffers", "verdict"] == HOLDS
    assert found.loc["without the neurons of ja, zh suffers", "verdict"] == FAILS


def test_claims_on_neurons(tmp_path):
    owners = {(layer, place): "zh" for layer in (0, 11) for place in range(8)}
    owners |= {(11, 8): "zh,ja", (5, 0): "ja", (0, 9): "en", (0, 8): "en,zh,fr"}
    owners |= {(0, place): "fr" for place in range(10, 16)} | {(10, place): "ja" for place in range(9)}
    path = neurons_header(tmp_path, "tiny", owners, sets=LANGUAGES, layers=12, neurons_per_layer=16)
    found = verdicts(path)
    few = found.loc["neurons belong to one or two languages"]
    assert few["value"] == pytest.approx(34 / 35) and few["verdict"] == HOLDS
    assert "one 33, two 1, more 1" in few["statistic"]
    both = found.loc["some 25% of the neurons of zh and ja belong to both"]
    assert both["value"] == pytest.approx(1 / 28) and both["verdict"] == FAILS
    assert found.loc["English has the fewest neurons", "value"] == pytest.approx(2 / 9)
    assert found.loc["neurons lie in the bottom and the top layers", "value"] == pytest.approx(34 / 35)
    arms = found.loc[["the bottom layers are one arm of a U", "the top layers are one arm of a U"]]
    assert arms["value"].tolist() == pytest.approx([16 / 17, 18 / 19]) and set(arms["verdict"]) == {HOLDS}


def test_claims_on_texts(tmp_path):
    layers = [
        {"model": "tiny", "layer": layer, "language": "", "ses": ses, "corrected": ses, "neurons": neurons}
        for layer, (ses, neurons) in enumerate(zip(range(9), range(9, 0, -1), strict=True), start=1)
    ]
    steered = [
        {"model": "tiny", "prompt": "plain", "setting": setting, "language": "", "metric": "language_accuracy"}
        | {"change": change, "change_low": change - 0.1, "change_high": change + 0.1}
        for setting, change in (("steered", 0.5), ("steered_random", 0.35))
    ]
    units = [
        {"model": "tiny", "ranking": "both", "language": one, "other": "x", "overlap": value}
        for one, value in (("fr", 0.01), ("ja", 0.06), ("", 0.035))
    ]
    found = TABLES["claims_of_both_papers"].rows(
        [
            table_header(tmp_path, "similarity_by_layer", layers),
            table_header(tmp_path, "answers_steered", steered),
            table_header(tmp_path, "expert_overlap", units),
        ]
    )
    assert found["verdict"].tolist() == [OPEN, HOLDS, HOLDS, HOLDS, OPEN, OPEN]
    assert found["value"].tolist()[1:5] == pytest.approx([-1, -1, 0.5, 0.15])


def test_what_tests_no_claim_is_refused(tmp_path):
    with pytest.raises(LapeError, match=r"no claim is tested on baseline; pass specificity, "):
        TABLES["claims"].rows([table_header(tmp_path, "baseline", [{"model": "tiny"}])])
