"""What the explorer tells: sentences, ranks, sets, cards and addresses, against plain computations."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lape.contexts.card import Context
from lape.contexts.inspected import InLanguage, Inspection
from lape.explorer import cards, neurons, overview
from lape.explorer.neuronpedia import model_page
from lape.explorer.run import Run
from lape.explorer.sets import views
from lape.items.perplexity.findings import TABLES, findings
from lape.model.sites import Sites
from lape.neurons.table import Neurons


def selected(owners: dict[int, tuple[str, ...]], sets=("fr", "ja")) -> Neurons:
    sites = Sites.rectangle(2, 4)
    table = pd.DataFrame({**sites.located(np.array(list(owners))), "languages": list(owners.values())})
    return Neurons(table, sets, sites)


@pytest.mark.workflow
def test_the_findings_are_those_of_the_tables(complete_run, monkeypatch):
    monkeypatch.chdir(complete_run.folder)
    tables = [Path(f"results/tiny/tables/{item}.json") for item in TABLES]
    found = overview.headline(Run("results/tiny/manifest.json"))
    assert found == list(findings(tables)) and "nats per token without the neurons that LAPE finds" in " ".join(found)


@pytest.mark.workflow
def test_a_fault_is_told(tampered):
    file = Path("results/tiny/neurons/tiny/lape.tsv")
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    holds, text = overview.verdict(Run("results/tiny/manifest.json"))
    assert not holds and f"the first: {file}: differs from the hash" in text


def test_what_is_no_manifest_is_refused(lape, tmp_path):
    file = tmp_path / "manifest.json"
    for content in ('{"artifact": "table"}', '{"artifact": "manifest"}', "no JSON"):
        file.write_text(content)
        status, message = lape("explorer", file, "--output", tmp_path / "index.html")
        assert status == 1 and str(file) in message and "Traceback" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_ranks_count_the_values_above():
    values = np.array([0.5, 0.9, 0.1, 0.9])
    assert neurons._ranks(values, values).tolist() == [3, 1, 4, 1]


def test_a_variants_neurons_are_not_the_runs(monkeypatch):
    paths = [Path(f"results/r/neurons/{folder}/lape.json") for folder in ("m", "m@text")]
    headers = {path: {"model": "m", "method": "lape"} for path in paths}
    monkeypatch.setattr(neurons.Neurons, "load", lambda path: path)
    found = neurons.selections(SimpleNamespace(headers=lambda kind: headers, config={}))
    assert found == {("m", "lape"): paths[0]}


def test_an_intersection_is_of_exactly_its_sets():
    lape = selected({0: ("fr",), 1: ("fr", "ja"), 5: ("fr",)})
    other = selected({1: ("ja",), 5: ("fr",), 6: ("ja",)})
    by_language, _, by_method = views({("m", "lape"): lape, ("m", "lave"): other})
    assert by_language["sets"] == {"fr": 3, "ja": 1}
    assert by_language["intersections"] == [{"sets": ["fr"], "neurons": 2}, {"sets": ["fr", "ja"], "neurons": 1}]
    assert by_method["sets"] == {"lape": 3, "lave": 3}
    assert {"sets": ["lape", "lave"], "neurons": 2} in by_method["intersections"]


def test_a_card_keeps_each_token_once_and_no_number_that_json_lacks():
    context = Context([" le", " la", " le"], [math.nan, 1.23456, -0.5], 1, 0)
    french = InLanguage(0.5, 0.25, 2, np.arange(32), [context], [])
    found = Inspection(name="n", languages={"fr": french}, raised=[], lowered=[], low=-1.0, width=0.5)
    first, second = cards.groups([found] * (cards.GROUP + 1))
    assert (len(first["cards"]), len(second["cards"])) == (cards.GROUP, 1)
    assert first["tokens"] == [" le", " la"]
    assert second["cards"][0]["languages"]["fr"]["strongest"] == [[[0, 1, 0], [None, 1.23, -0.5], 1]]
    assert cards.strongest(found, ("fr", "ja")) == 1.23456 and cards.strongest(found, ("ja",)) is None


def test_a_model_is_known_by_its_repository_or_its_name():
    assert model_page("openai-community/gpt2", "mine") == ("https://www.neuronpedia.org/gpt2-small", True)
    assert model_page(None, "Gemma-2-2B") == ("https://www.neuronpedia.org/gemma-2-2b", False)
    assert model_page(None, "gemma3-270m") is None
