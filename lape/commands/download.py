"""Fetch a file from the Python package index, or by its URL, and check its SHA-256; nothing is installed."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.commands.arguments import positive
from lape.errors import LapeError


def add_arguments(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--package",
        action="append",
        dest="packages",
        metavar="NAME",
        help="package that holds the file; repeat the option to join parts from several, in this order",
    )
    source.add_argument(
        "--url", help="http or https address of the file; a password belongs into ~/.netrc, as the URL is recorded"
    )
    parser.add_argument("--version", help="version of the packages")
    parser.add_argument(
        "--file",
        metavar="GLOB",
        help="members to take: of a wheel all that match, sorted; of a source archive the first, top folder left out "
        "(default: the wheel as it is)",
    )
    parser.add_argument(
        "--members", type=positive(int), default=1, metavar="N", help="members to take of a source archive"
    )
    parser.add_argument("--sha256", required=True, metavar="HEX", help="expected SHA-256 of the (joined) file")
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="path of the (joined) file")
    parser.add_argument(
        "--index",
        metavar="URL",
        default=os.environ.get("LAPE_INDEX"),
        help="package index to use (default: the environment variable LAPE_INDEX, else the public one)",
    )


def run(arguments: Namespace) -> None:
    from lape.artifacts.download import download, download_url

    if (arguments.packages is None) != (arguments.version is None) or (arguments.file and not arguments.packages):
        raise LapeError("--package and --version go together, with or without --file; leave all three out for --url")
    if arguments.url is not None:
        download_url(arguments.url, arguments.sha256, arguments.output)
    else:
        package = arguments.packages, arguments.version, arguments.file
        more = {"members": arguments.members, "index": arguments.index}
        download(*package, arguments.sha256, arguments.output, **more)
