"""Every table and figure of the papers: one entry per item, and the names by which an item is found.

A new item is an entry in `entries.py` of its family's folder, and a caption, `rules/captions/<name>.rst`. The workflow
makes its rules from the entry, and `lape table` and `lape figure` make its files.
"""

from lape.errors import LapeError
from lape.items import sources
from lape.items.answers import entries as answers
from lape.items.claims import entries as claims
from lape.items.entry import Item, Named, Table
from lape.items.expert_units import entries as expert_units
from lape.items.neurons import entries as neurons
from lape.items.perplexity import entries as perplexity
from lape.items.structure import entries as structure
from lape.items.tasks import entries as tasks

_CORPORA = Item(
    "corpora",
    "all",
    Table(
        "Text of each language",
        ("corpus",),
        sources.corpora,
        Named("corpora.corpora"),
        Named("corpora.corpora_sections"),
        data=sources.nothing,
    ),
)
# The sections of the report, in the order in which it is read, and their items.
SECTIONS = {
    "Claims": claims.ITEMS,
    "Text": (_CORPORA,),
    "Perplexity without neurons": perplexity.ITEMS,
    "Neurons of languages": neurons.ITEMS,
    "Answers": answers.ITEMS,
    "Tasks": tasks.ITEMS,
    "Similarity of languages": structure.ITEMS,
    "Expert units": expert_units.ITEMS,
}
ITEMS = tuple(item for items in SECTIONS.values() for item in items)
TABLES = {item.name: item.table for item in ITEMS if item.table}
FIGURES = {item.name: item.figure for item in ITEMS if item.figure}
# Alias -> the name of its item.
ALIASES = {alias: item.name for item in ITEMS for alias in item.aliases}


def in_report(item: Item) -> tuple[str, str]:
    """The section of an item in the report, and what comes before the item's title there.

    Both begin with a number: the report sorts by name.
    """
    numbered = enumerate(SECTIONS.items(), 1)
    section = next(f"{number} {name}" for number, (name, items) in numbered if item in items)
    return section, f"{ITEMS.index(item) + 1:02}"


def item_name(name: str) -> str:
    """The name of the item that is called by its name or by an alias; any other text as it is."""
    return ALIASES.get(name, name)


def name_items(config: dict) -> None:
    """Replace the aliases of items in a configuration's `experiments` and `experiments.models` by names, in place.

    Raises:
        LapeError: `experiments.models` has one item twice, under two of its names.
    """
    experiments = config.get("experiments")
    if not isinstance(experiments, dict):
        return  # the schema refuses it, or the run is of a version without experiments
    for alias in [key for key in experiments if key in ALIASES]:
        given, name = experiments.pop(alias), item_name(alias)
        # The default configuration has every section under its name, so the alias is what the user wrote.
        known = experiments.get(name)
        experiments[name] = {**known, **given} if isinstance(known, dict) and isinstance(given, dict) else given
    models = experiments.get("models")
    for alias in [key for key in models if key in ALIASES] if isinstance(models, dict) else ():
        name = item_name(alias)
        if name in models:
            raise LapeError(f"config experiments.models.{alias}: is another name of {name}; leave one of the two out")
        models[name] = models.pop(alias)
