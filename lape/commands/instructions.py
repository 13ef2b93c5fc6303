"""Read one language's instruction data, from files or from the dataset hub, for parameter variation to train on."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--language", required=True, metavar="CODE", help="ISO 639-1 code, such as fr")
    parser.add_argument("--source", required=True, choices=("files", "hub"), help="where the examples come from")
    parser.add_argument(
        "--settings",
        required=True,
        type=json_object,
        metavar="JSON",
        help="settings of the source: instructions.files, or instructions.hub.<language>, of the configuration",
    )
    parser.add_argument("--examples", type=int, metavar="N", help="examples at most (default: all)")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.jsonl")


def run(arguments: Namespace) -> None:
    from lape.text.instructions import build_instructions

    build_instructions(
        arguments.language,
        arguments.source,
        arguments.settings,
        arguments.output,
        examples=arguments.examples,
    )
