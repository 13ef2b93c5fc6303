"""Sentences in one language and their translations into another, for a model to translate."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="NAME", help="what the pairs are called, such as flores")
    parser.add_argument(
        "--source-language", required=True, metavar="CODE", help="language to translate from, such as en"
    )
    parser.add_argument("--language", required=True, metavar="CODE", help="language to translate into, such as fr")
    parser.add_argument(
        "--source", required=True, choices=("questions", "hub", "files"), help="where the pairs come from"
    )
    parser.add_argument("--settings", type=json_object, default={}, metavar="JSON", help="settings of the source")
    parser.add_argument(
        "--questions",
        nargs=2,
        metavar=("SOURCE", "TARGET"),
        help="headers of the two languages' questions (source questions)",
    )
    parser.add_argument("--number", type=int, metavar="N", help="pairs at most, from the first on (default: all)")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.jsonl")


def run(arguments: Namespace) -> None:
    from lape.text.pairs import build_pairs

    settings = dict(arguments.settings)
    if arguments.questions is not None:
        settings["questions"] = arguments.questions
    build_pairs(
        arguments.corpus,
        arguments.source_language,
        arguments.language,
        arguments.source,
        settings,
        arguments.output,
        number=arguments.number,
    )
