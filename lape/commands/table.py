"""A table of the paper, or the data of one of its figures: CSV for machines, Markdown, HTML and LaTeX for people."""

import argparse
from pathlib import Path

from lape.artifacts.files import write_header, writing
from lape.commands.arguments import item_of
from lape.errors import LapeError
from lape.items.registry import TABLES
from lape.items.tables import subjects, texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "item", type=item_of("table", TABLES), metavar="ITEM", help=f"what to make: {', '.join(TABLES)}"
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT.json", help="headers of the artifacts to read")
    parser.add_argument("--output", required=True, type=Path, metavar="ITEM.csv", help="the tidy table to write")
    parser.add_argument(
        "--resamples", type=int, default=2000, help="resamples of the bootstrap, where the item has intervals"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap's draws and of random sign flips")
    parser.add_argument(
        "--related", default=None, help="specificity: pairs of related languages, such as zh+ja,fr+es (default: none)"
    )
    parser.add_argument("--size", type=int, help="expert units: number in each ranking (default: all)")
    parser.add_argument(
        "--language", help="example_deactivated: language of the question (default: zh, or the first that is not en)"
    )
    parser.add_argument("--source", help="example_cross_lingual: language of the question (default: es, or the first)")
    parser.add_argument(
        "--target", help="example_cross_lingual: language of the answer (default: zh, or the first other language)"
    )


def run(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output.suffix != ".csv":
        raise LapeError(f"{output}: a table is written as CSV; give --output a name that ends in .csv")
    table = TABLES[arguments.item]
    for name in ("related", "size", "language", "source", "target"):
        if getattr(arguments, name) is not None and name not in table.options.names:
            raise LapeError(f"table {arguments.item}: --{name} is not used; leave it out")
    parameters = {name: getattr(arguments, name) for name in table.options.names}
    frame = table.rows(arguments.inputs, **parameters)
    stem, folder = output.with_suffix(""), output.with_suffix(".latex")
    written = {Path(f"{stem}{suffix}"): text for suffix, text in texts(arguments.item, frame).items()}
    for path, text in written.items():
        with writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    folder.mkdir(exist_ok=True)  # the workflow expects it of an item without a section, too
    for former in set(folder.glob("*.tex")) - set(written):  # of a run with more languages or models
        former.unlink()
    write_header(
        output.with_suffix(".json"),
        "table",
        item=arguments.item,
        **subjects(frame),
        columns=list(frame.columns),
        rows=len(frame),
        parameters=parameters,
        inputs=[path for header in arguments.inputs for path in (header, *table.read_beside(header))],
        outputs=written,
    )
