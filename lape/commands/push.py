"""Upload a neuron set or a checkpoint that `lape export` wrote to the hub, with the token in HF_TOKEN."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="that `lape export set` or `checkpoint` wrote")
    parser.add_argument("repository", metavar="OWNER/NAME", help="of the hub; it is made where there is none")
    parser.add_argument("--private", action="store_true", help="make a repository that others do not see")


def run(arguments: argparse.Namespace) -> None:
    from lape.export.push import push

    logger.info("%s", push(arguments.folder, arguments.repository, arguments.private))
