"""The page of a finished run: its findings, every neuron, the answers and the tables. It opens from a file, offline."""

import argparse
import logging
from pathlib import Path

from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, help="manifest.json of the run")
    parser.add_argument("--output", type=Path, required=True, help="index.html; beyond 20 MB index.data/ too")


def run(arguments: argparse.Namespace) -> None:
    from lape.artifacts.shipped import repository
    from lape.explorer.run import Run

    try:
        from lape.explorer.cards import stored
        from lape.explorer.page import page
    except ImportError as error:
        raise LapeError(f"{error.name}: is not installed, and draws the page; pip install 'lape[workflow]'") from error
    found = Run(arguments.manifest)
    made = page(found, repository() / "rules" / "captions", stored(found))
    files = made.write(arguments.output)
    size = sum(file.stat().st_size for file in files) / 1e6
    logger.info("%s: %.1f MB%s", arguments.output, size, f" in {len(files)} files" if len(files) > 1 else "")
