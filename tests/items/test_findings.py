"""What the tables of perplexity say in sentences, and the first page of a report."""

import json

import pandas as pd
import pytest

from lape.errors import LapeError
from lape.items.perplexity.entries import FOUND
from lape.items.perplexity.findings import TABLES, findings


@pytest.fixture
def tables(tmp_path):
    """Writes the tables of two languages, by the rises of the NLL; returns their headers."""

    def write(rises: dict[tuple[str, str], float]):
        matrix = [
            {"model": "m_1", "method": "lape", "deactivated": off, "evaluated": on, "baseline_ppl": 10.0, "ppl": 20.0}
            | {"nll_change": rise, "nll_change_low": rise - 0.5, "nll_change_high": rise + 0.25}
            for (off, on), rise in rises.items()
        ]
        matrix += [row | {"method": "active_lape", "nll_change": row["nll_change"] / 10} for row in matrix]
        same = {"model": "m_1", "method": "lape"}
        shares = [same | {"cells": "all", "languages": 2, "share": 0.75, "share_low": 0.5, "share_high": 0.9}]
        draws = [
            same | {"language": "fr", "draws": 12, "rank": 1, "p_holm": 0.01, "control_rise": 0.1, "control_high": 0.3},
            same | {"language": "ja", "draws": 12, "rank": 3, "p_holm": 0.20, "control_rise": 0.3, "control_high": 2.3},
        ]
        for item, rows in (("deactivation_matrix", matrix), ("specificity", shares), ("control_draws", draws)):
            pd.DataFrame(rows).to_csv(tmp_path / f"{item}.csv", index=False)
            (tmp_path / f"{item}.json").write_text(json.dumps({"artifact": "table", "item": item}))
        return [tmp_path / f"{item}.json" for item in TABLES]

    return write


RISES = {("fr", "fr"): 1.0, ("fr", "ja"): 0.25, ("ja", "fr"): 0.75, ("ja", "ja"): 2.0}


def test_the_workflow_passes_the_tables_that_are_read():
    assert tuple(TABLES) == FOUND


def test_a_matrix_is_told_with_its_uncertainty_and_its_control(tables):
    share, mean, ranks, largest = findings(tables(RISES))
    assert "75% is lost in that language (95% interval over languages 50% to 90%; 50% if all" in share
    assert "loses 1.50 nats per token without the neurons that LAPE finds for it, and 0.50 without those" in mean
    assert mean.endswith("that are as active in the language it loses 0.20 (mean of 12 draws).")
    assert ranks.startswith("In 1 of 2 languages (fr) the loss is larger than under every draw of that control, and")
    assert (
        "ja text without the neurons of ja" in largest and "2.00 nats per token (95% interval 1.50 to 2.25)" in largest
    )


def test_a_gain_is_called_no_loss_and_a_control_without_draws_is_told(tables):
    matrix, *_ = tables({key: -rise for key, rise in RISES.items()})
    (found,) = findings([matrix])
    assert found.endswith("Without a control of as many neurons it loses −0.15.")


def test_the_first_page_says_what_was_run_and_found(tables, tmp_path, lape, complete_run):
    words = ["--config", complete_run.results / "config.json", "--output", tmp_path / "summary.rst"]
    assert lape("summary", *tables(RISES), *words)[0] == 0
    found = (tmp_path / "summary.rst").read_text()
    assert "languages fr, ja" in found and "LAPE selects 10% of all neurons" in found
    assert r"- Under m\_1 the text" in found and "<index.html>" in found
    assert lape("summary", *words)[0] == 0
    assert "What was found" not in (tmp_path / "summary.rst").read_text()


def test_another_artifact_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"artifact": "neurons"}))
    with pytest.raises(LapeError, match="is the header of 'neurons', not of 'table'"):
        list(findings([tmp_path / "x.json"]))
