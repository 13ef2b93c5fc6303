"""A figure of the paper as PDF, SVG and PNG, drawn from its table and nothing else."""

import argparse
from pathlib import Path

from lape.artifacts.files import checked, read_json, write_header
from lape.commands.arguments import item_of
from lape.errors import LapeError
from lape.items.drawing.style import COLUMN, PAGE, save
from lape.items.figures import draw
from lape.items.registry import FIGURES
from lape.items.tables import read, subjects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "item", type=item_of("figure", FIGURES), metavar="ITEM", help=f"what to draw: {', '.join(FIGURES)}"
    )
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="the tidy table that `lape table` wrote")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="ITEM.pdf", help="the PDF to write; SVG and PNG go beside it"
    )
    parser.add_argument(
        "--column", action="store_true", help=f"draw for a column of {COLUMN} inches, not a page of {PAGE:g}"
    )


def run(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output.suffix != ".pdf":
        raise LapeError(f"{output}: a figure is written as PDF first; give --output a name that ends in .pdf")
    header = arguments.table.with_suffix(".json")
    if header.is_file():
        checked(header, read_json(header, "table"), ".csv")
    frame = read(arguments.table, FIGURES[arguments.item].columns)
    paths = save(draw(arguments.item, frame, COLUMN if arguments.column else PAGE), output)
    write_header(
        output.with_suffix(".json"),
        "figure",
        item=arguments.item,
        **subjects(frame),
        parameters={"column": arguments.column},
        inputs=[arguments.table],
        outputs=paths,
    )
