"""What a matrix says in sentences, and the first page of a report."""

import json

import pandas as pd
import pytest

from lape.errors import LapeError
from lape.items.perplexity.findings import findings


@pytest.fixture
def matrix(tmp_path):
    """Writes the table of a matrix of two languages, by the rises of the NLL; returns its header."""

    def write(rises: dict[tuple[str, str], float], p_holm: float = 0.01):
        rows = [
            {"model": "m_1", "method": "lape", "deactivated": off, "evaluated": on, "baseline_ppl": 10.0, "ppl": 20.0}
            | {"nll_change": rise, "nll_change_low": rise - 0.5, "nll_change_high": rise + 0.25}
            | {"chunks": 100, "control_nll": 2.0, "nll": 3.0, "p_value": p_holm, "p_holm": p_holm if off == on else 1.0}
            for (off, on), rise in rises.items()
        ]
        rows += [row | {"method": "matched_lape", "nll_change": row["nll_change"] / 10} for row in rows]
        pd.DataFrame(rows).to_csv(tmp_path / "deactivation_matrix.csv", index=False)
        (tmp_path / "deactivation_matrix.json").write_text('{"artifact": "table"}')
        return tmp_path / "deactivation_matrix.json"

    return write


RISES = {("fr", "fr"): 1.0, ("fr", "ja"): 0.25, ("ja", "fr"): 0.75, ("ja", "ja"): 2.0}


def test_a_matrix_is_told_with_its_uncertainty(matrix):
    mean, tested, largest = findings(matrix(RISES))
    assert mean.endswith("Without as many random neurons of the same layers it loses 0.15.")
    assert "loses 1.50 nats per token without the neurons that LAPE finds for it, and 0.50 without those" in mean
    assert tested.startswith(
        "2 of 2 languages (fr, ja) suffer more without their own neurons than under the control, and 0"
    )
    assert (
        "ja text without the neurons of ja" in largest and "2.00 nats per token (95% interval 1.50 to 2.25)" in largest
    )


def test_a_gain_is_called_no_loss(matrix):
    found = list(findings(matrix({key: -rise for key, rise in RISES.items()}, p_holm=1.0)))
    assert len(found) == 2 and "0 of 2 languages (none)" in found[1]


def test_the_first_page_says_what_was_run_and_found(matrix, tmp_path, lape, complete_run):
    words = ["--config", complete_run.results / "config.json", "--output", tmp_path / "summary.rst"]
    assert lape("summary", matrix(RISES), *words)[0] == 0
    found = (tmp_path / "summary.rst").read_text()
    assert "languages fr, ja" in found and "LAPE selects 10% of all neurons" in found
    assert r"- Under m\_1 the text" in found and "<index.html>" in found
    assert lape("summary", *words)[0] == 0
    assert "What was found" not in (tmp_path / "summary.rst").read_text()


def test_another_artifact_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"artifact": "neurons"}))
    with pytest.raises(LapeError, match="is the header of 'neurons', not of 'table'"):
        list(findings(tmp_path / "x.json"))
