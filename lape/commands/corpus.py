"""Write one language's text as a Parquet file of documents, without duplicates, bad lines counted by name."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--language", required=True, metavar="CODE", help="ISO 639-1 code, such as fr")
    parser.add_argument(
        "--source", required=True, choices=("embedded", "archive", "hub", "files"), help="where the text comes from"
    )
    parser.add_argument(
        "--settings",
        required=True,
        type=json_object,
        metavar="JSON",
        help="settings of the source: the section corpus.<source> of the configuration",
    )
    parser.add_argument("--file", metavar="PATH", help="the downloaded file (sources embedded and archive)")
    parser.add_argument(
        "--language-check",
        choices=("keep", "drop", "off"),
        default="keep",
        help="keep: detect and record each document's language; drop: drop other languages, where the detector knows "
        "the wanted one; off: do not detect",
    )
    parser.add_argument(
        "--identifier",
        choices=("fasttext", "langdetect", "lingua", "heliport"),
        default="fasttext",
        help="what detects languages",
    )
    parser.add_argument("--minimum-characters", type=int, default=1, metavar="N", help="drop shorter documents")
    parser.add_argument("--exclude", metavar="REGEX", help="drop documents in which this regular expression is found")
    parser.add_argument(
        "--other-language",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="with keep: refuse a corpus of which more is detected in another language",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="processes that detect languages, where that is slow"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.parquet")


def run(arguments: Namespace) -> None:
    from lape.text.build import build_corpus

    settings = arguments.settings if arguments.file is None else {**arguments.settings, "file": arguments.file}
    build_corpus(
        arguments.language,
        arguments.source,
        settings,
        arguments.output,
        language_check=arguments.language_check,
        minimum_characters=arguments.minimum_characters,
        exclude=arguments.exclude,
        other_language=arguments.other_language,
        identifier=arguments.identifier,
        threads=arguments.threads,
    )
