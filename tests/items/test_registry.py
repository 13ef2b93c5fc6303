"""The registry of items: every entry names what is there, and every list of items elsewhere says the same."""

import copy

import pytest
import yaml
from default_config import DEFAULTS, SCHEMA
from item_list import PAGE, with_items
from tiny_data import ROOT

from lape.config import check_config
from lape.errors import LapeError
from lape.items.registry import ITEMS, TABLES, name_items
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
    names = [name for item in ITEMS for name in (item.name, *item.aliases)]
    assert len(set(names)) == len(names)


def test_a_configuration_may_call_items_as_the_papers_do():
    given = {"figure2": {"methods": ["lape"]}, "models": {"figure5": ["smollm2-135m"], "table3": ["gemma3-270m"]}}
    config = copy.deepcopy(DEFAULTS)
    config["experiments"] |= given | {"deactivation_by_method": {"methods": ["lave"]}}
    name_items(config)
    assert config["experiments"]["deactivation_by_method"] == {"methods": ["lape"]}
    assert config["experiments"]["models"] == {
        "neurons_per_layer": ["smollm2-135m"],
        "neurons_per_language": ["gemma3-270m"],
    }
    check_config(config, SCHEMA)
    config["experiments"]["models"] |= {"tables6_10": ["other"]}
    with pytest.raises(LapeError, match=r"experiments.models.tables6_10: is another name of neurons_per_layer; leave"):
        name_items(config)


@pytest.mark.parametrize(
    "config", [{}, {"experiments": None}, {"experiments": {"models": 1}}, {"experiments": {"figure2": 1}}]
)
def test_what_is_no_mapping_is_left_to_the_schema(config):
    name_items(config)


def test_the_page_of_items_lists_every_item():
    page = PAGE.read_text(encoding="utf-8")
    assert with_items(page) == page, "run `make format`"


def test_targets_make_every_item_of_the_default_configuration():
    """WikiLingua's languages are the paper's, and more than two."""
    made = {
        path
        for target in ("all", "paper", "expert_units", "comparison")
        for path in targets.of_target(DEFAULTS, target)
    }
    assert made == {*targets.tables(ITEMS), *targets.figures(ITEMS)}
    assert made == set(targets.of_target(DEFAULTS, "paper"))
    assert len(targets.of_target(DEFAULTS, "all")) == 13


def test_the_schema_lists_the_items_whose_models_may_be_named():
    schema = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text(encoding="utf-8"))
    listed = schema["properties"]["experiments"]["properties"]["models"]["propertyNames"]["enum"]
    # The corpora are of no model.
    assert sorted(listed) == sorted({item.models or item.name for item in ITEMS} - {"corpora"})


def test_a_table_waits_for_what_its_command_reads():
    """The data of the headers of a perplexity, neurons, stability and embeddings table, by path."""
    data = TABLES["similarity_by_layer"].data(
        DEFAULTS, ["<results>/embeddings/m/fr.json", "<results>/neurons/m/lape.json"]
    )
    assert data == ["<results>/embeddings/m/fr.npy", "<results>/neurons/m/lape.tsv"]
    assert len(TABLES["stability"].data(DEFAULTS, ["<results>/stability/m.json"])) == 4
    scores = "<results>/scores/m/unconditional/none"
    assert TABLES["expert_share"].data(DEFAULTS, [f"{scores}.json"]) == [
        f"{scores}.tsv",
        *(f"{scores.replace('scores', 'generations')}{suffix}" for suffix in (".json", ".jsonl")),
    ]
