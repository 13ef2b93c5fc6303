"""The items that each target makes, and what each item depends on."""

import shlex
from collections.abc import Callable, Iterable

from lape.errors import LapeError
from lape.items.perplexity.entries import FOUND
from lape.items.registry import ITEMS, Item

# Target -> the groups of items that it makes. A group is the items whose entries in the registry name one target.
_MAKES = {name: (name,) for name in ("all", "expert_units", "comparison")}
_MAKES["paper"] = ("all", "paper", "expert_units", "comparison")


def items(config: dict, target: str) -> list[Item]:
    """The items that a target makes, one group after another."""
    return [item for group in _groups(config, target) for item in group]


def of_target(config: dict, target: str) -> list[str]:
    """The table (HTML) and figure (SVG) of every item that a target makes. In each group the tables come first."""
    return [path for group in _groups(config, target) for path in (*tables(group), *figures(group))]


def findings(config: dict, target: str) -> list[str]:
    """The tables whose findings the target's report begins with, as far as the target makes them."""
    return tables(item for item in items(config, target) if item.name in FOUND)


def comparison(config: dict) -> list[str]:
    """The files of the items that compare LAPE with expert units.

    Raises:
        LapeError: LAPE and the expert units are of different languages.
    """
    found = of_target(config, "comparison")
    if not found:
        raise LapeError("config expert_units.languages: are not the run's; name the same to compare with LAPE")
    return found


def of_item(item: Item) -> list[str]:
    """The table (HTML) and figure (SVG) of one item."""
    return [*tables([item]), *figures([item])]


def tables(items: Iterable[Item]) -> list[str]:
    """The tables of some items."""
    return [f"<results>/tables/{item.name}.html" for item in items if item.table]


def figures(items: Iterable[Item]) -> list[str]:
    """The figures of some items."""
    return [f"<results>/figures/{item.name}.svg" for item in items if item.figure]


def headers(paths: Iterable[str]) -> list[str]:
    """The headers beside tables and figures."""
    return [f"{path.rpartition('.')[0]}.json" for path in paths]


def _groups(config: dict, target: str) -> list[list[Item]]:
    return [[item for item in ITEMS if item.target == name and item.where(config)] for name in _MAKES[target]]


class Tables:
    """The inputs and options of the registry's tables under a configuration, as functions of the wildcards."""

    def __init__(self, config: dict):
        self._config = config

    def headers(self, item: Item) -> Callable[..., list[str]]:
        """The headers that a table's command takes."""
        return lambda wildcards: item.table.inputs(self._config)

    def data(self, item: Item) -> Callable[..., list[str]]:
        """The data that a table's command reads beside the headers."""
        return lambda wildcards: item.table.data(self._config, item.table.inputs(self._config))

    def options(self, item: Item) -> Callable[..., str]:
        """The options that shape a table's rows."""
        return lambda wildcards: " ".join(
            f"--{name} {shlex.quote(str(value))}" for name, value in item.table.options.values(self._config).items()
        )
