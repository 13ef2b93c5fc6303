"""Read one language's questions from files or the dataset hub, for the generation experiments to put to the model."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--language", required=True, metavar="CODE", help="ISO 639-1 code, such as fr")
    parser.add_argument(
        "--settings",
        required=True,
        type=json_object,
        metavar="JSON",
        help='of the files, such as {"pattern": "questions/{language}.txt", "skip": [44]}, or of a dataset of the hub',
    )
    parser.add_argument(
        "--number", type=int, metavar="N", help="questions at most, from the smallest number on (default: all)"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.jsonl")


def run(arguments: Namespace) -> None:
    from lape.text.questions import build_questions

    build_questions(arguments.language, arguments.settings, arguments.output, number=arguments.number)
