"""The run's tables and figures as the page shows them, with the files that it offers to save."""

from dataclasses import dataclass, field
from pathlib import Path

from docutils.core import publish_parts

from lape.errors import LapeError
from lape.explorer.run import Run
from lape.items.layout import Section
from lape.items.registry import FIGURES, ITEMS, TABLES
from lape.items.tables import read


@dataclass(frozen=True)
class Shown:
    """One item.

    Attributes:
        name, title: of the item.
        caption: HTML of the caption in rules/captions.
        sections: the tables.
        files: suffix -> text of each file that the page offers: csv, md, tex and svg.
    """

    name: str
    title: str
    caption: str
    sections: list[Section] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def items(run: Run, captions: Path) -> list[Shown]:
    """The items of a run in the order of the registry.

    Args:
        run: the run.
        captions: folder of the captions, <item>.rst.

    Raises:
        LapeError: a file is missing or changed.
    """
    tables = {header["item"]: path for path, header in run.headers("table").items()}
    figures = {header["item"]: path for path, header in run.headers("figure").items()}
    names = [item.name for item in ITEMS if item.name in tables or item.name in figures]
    rows = {header["item"]: header["rows"] for header in run.headers("table").values()}
    return [
        _shown(name, tables.get(name), rows.get(name, 0), figures.get(name), captions / f"{name}.rst") for name in names
    ]


def _shown(name: str, table: Path | None, rows: int, figure: Path | None, caption: Path) -> Shown:
    """An item, from the headers of its table, which has some rows or none, and of its figure."""
    title = TABLES[name].title if name in TABLES else FIGURES[name].title
    files, sections = {}, []
    if table is not None:
        sections = TABLES[name].sections(read(table.with_suffix(".csv"), ())) if rows else []
        files = {suffix: _text(table.with_suffix(f".{suffix}")) for suffix in ("csv", "md")}
        files["tex"] = "\n".join(map(_text, sorted(table.with_suffix(".latex").glob("*.tex"), key=_number)))
    if figure is not None:
        files["svg"] = _text(figure.with_suffix(".svg"))
    return Shown(name, title, _html(_text(caption)) if caption.is_file() else "", sections, files)


def _html(text: str) -> str:
    """A caption, which is reStructuredText, as HTML."""
    options = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5}
    return publish_parts(text, writer="html5", settings_overrides=options)["body"]


def _number(path: Path) -> int:
    """The number at the end of the name <item>-<number>.tex."""
    return int(path.stem.rpartition("-")[2])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LapeError(f"{path}: cannot be read ({error}); run the workflow again") from error
