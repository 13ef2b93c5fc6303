"""What an entry of the registry says of a table, of a figure, and of the item that they belong to.

Functions are named by their paths and imported when they are called. So making one item does not import the code of
the others.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lape.items import sources
from lape.items.sources import NO_OPTIONS, Options


@dataclass(frozen=True)
class Named:
    """A function or a constant, named by its path below `lape.items`, such as "perplexity.rows.changes"."""

    path: str

    @property
    def module(self) -> str:
        return f"lape.items.{self.path.rpartition('.')[0]}"

    def found(self):
        """The function or the constant. This call imports its module."""
        return getattr(importlib.import_module(self.module), self.path.rpartition(".")[2])

    def __call__(self, *arguments, **options):
        return self.found()(*arguments, **options)


@dataclass(frozen=True)
class Table:
    """A table, or the data of a figure.

    Attributes:
        title: what the report calls it.
        artifacts: the kinds of headers that the table is made from.
        inputs: from the configuration to the paths of the headers.
        rows: reads the headers, in the order given, and returns the tidy frame. It takes the options by name.
        sections: lays a tidy frame out for people.
        read_beside: from the path of one header, which must exist, to the data files that are read beside it.
        data: from the configuration and the paths of all headers, which need not exist yet, to the data files.
        options: the options of `lape table` that shape the rows. They are recorded in the table's header.
        category: where the report shows it. Categories stand in the order of the alphabet.
    """

    title: str
    artifacts: tuple[str, ...]
    inputs: Callable[[dict], list[str]]
    rows: Named
    sections: Named
    read_beside: Callable[[str], list[Path]] = lambda header: []
    data: Callable[[dict, Sequence[str]], list[str]] = sources.beside
    options: Options = NO_OPTIONS
    category: str = "Tables"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that make it."""
        return self.rows.module, self.sections.module


@dataclass(frozen=True)
class Figure:
    """A figure, drawn from a table and nothing else.

    Attributes:
        title: what the report calls the figure.
        draw: from the tidy frame to the drawing.
        needs: the columns of the table that the drawing needs.
        table: the item from whose table the figure is drawn; "" for the figure's own item.
    """

    title: str
    draw: Named
    needs: Named
    table: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that the drawing needs."""
        return self.needs.found()

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that make it."""
        return self.draw.module, self.needs.module


@dataclass(frozen=True)
class Item:
    """An item of the papers.

    Attributes:
        name: what the item shows: the name of its own target, its files and its caption.
        target: the target that makes the item: "all", "paper", "expert_units" or "comparison". `paper` makes all items.
        table: the item's table, or the data of its figure; None where the figure is drawn from another item's table.
        figure: the item's figure; None where it has none.
        models: the entry of `experiments.models` that names the item's models; "" for the entry of the item's name.
        where: from the configuration to whether the target makes the item.
        aliases: other names of the item: what the paper calls its tables and figures, such as "figure2", or an earlier
            name.
    """

    name: str
    target: str
    table: Table | None = None
    figure: Figure | None = None
    models: str = ""
    where: Callable[[dict], bool] = lambda config: True
    aliases: tuple[str, ...] = ()
