"""The registry of items: every entry names what is there, and every list of items elsewhere says the same."""

import re

import pytest
import yaml
from default_config import DEFAULTS
from tiny_data import ROOT

from lape.items.registry import ITEMS, TABLES
from lape.workflow import targets


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_an_entry_names_what_is_there(item):
    assert item.table or item.figure
    assert (ROOT / "rules" / "captions" / f"{item.name}.rst").is_file()
    if item.table:
        assert callable(item.table.rows.found()) and callable(item.table.sections.found())
    if item.figure:
        assert callable(item.figure.draw.found()) and item.figure.columns
        assert (item.figure.table or item.name) in TABLES


def test_every_caption_is_an_items():
    assert {path.stem for path in (ROOT / "rules" / "captions").iterdir()} == {item.name for item in ITEMS}


def test_names_are_told_once():
    names = [item.name for item in ITEMS]
    assert len(set(names)) == len(names)


def test_targets_make_every_item_of_the_default_configuration():
    """WikiLingua's languages are the paper's, and more than two."""
    made = {
        path
        for target in ("all", "paper", "expert_units", "comparison")
        for path in targets.of_target(DEFAULTS, target)
    }
    assert made == {*targets.tables(ITEMS), *targets.figures(ITEMS)}
    assert made == set(targets.of_target(DEFAULTS, "paper"))
    assert len(targets.of_target(DEFAULTS, "all")) == 8


def test_the_schema_lists_the_items_whose_models_may_be_named():
    schema = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text(encoding="utf-8"))
    listed = schema["properties"]["experiments"]["properties"]["models"]["propertyNames"]["enum"]
    # The diagonality is that of the matrices of other items, and the corpora are of no model.
    assert sorted(listed) == sorted({item.models or item.name for item in ITEMS} - {"diagonality", "corpora"})


def test_pages_name_no_item_that_is_not_there():
    """Pages say where the list is and give examples, which look like `figure2`, `tables6_10` or `expert_share`."""
    known = {item.name for item in ITEMS} | {"expert_units"}
    for file in ("README.md", "config/README.md", "docs/results.md"):
        named = re.findall(r"`((?:figure|tables?)\d[\d_]*|expert_\w+)`", (ROOT / file).read_text(encoding="utf-8"))
        assert named and set(named) <= known, file


def test_a_table_waits_for_what_its_command_reads():
    """The data of the headers of a perplexity, neurons, stability and embeddings table, by path."""
    data = TABLES["figure6"].data(DEFAULTS, ["<results>/embeddings/m/fr.json", "<results>/neurons/m/lape.json"])
    assert data == ["<results>/embeddings/m/fr.npy", "<results>/neurons/m/lape.tsv"]
    assert len(TABLES["stability"].data(DEFAULTS, ["<results>/stability/m.json"])) == 4
    scores = "<results>/scores/m/unconditional/none"
    assert TABLES["expert_share"].data(DEFAULTS, [f"{scores}.json"]) == [
        f"{scores}.tsv",
        *(f"{scores.replace('scores', 'generations')}{suffix}" for suffix in (".json", ".jsonl")),
    ]
