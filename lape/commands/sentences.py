"""Draw one language's sentences: those that expert units are scored on, and others that are held out."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import json_object


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--language", required=True, metavar="CODE", help="ISO 639-1 code, such as fr")
    parser.add_argument(
        "--source", required=True, choices=("corpus", "hub", "files"), help="where the sentences come from"
    )
    parser.add_argument(
        "--settings",
        type=json_object,
        default={},
        metavar="JSON",
        help="settings of the source, also minimum_bytes and maximum_characters: the section sentences.<source>",
    )
    parser.add_argument("--corpus", metavar="PATH", help="the language's documents, as parquet (source corpus)")
    parser.add_argument(
        "--valid-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the documents kept for evaluation: that of the tokens (source corpus)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw: that of the tokens")
    parser.add_argument("--number", type=int, default=500, metavar="N", help="sentences that are scored")
    parser.add_argument("--held-out", type=int, default=100, metavar="N", help="sentences that are held out")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="<language>.jsonl")


def run(arguments: Namespace) -> None:
    from lape.text.sentences import build_sentences

    settings = dict(arguments.settings)
    if arguments.corpus is not None:
        settings["corpus"] = arguments.corpus
    if arguments.source == "corpus":
        settings["valid_share"] = arguments.valid_share
    build_sentences(
        arguments.language,
        arguments.source,
        settings,
        arguments.output,
        number=arguments.number,
        held_out=arguments.held_out,
        seed=arguments.seed,
    )
