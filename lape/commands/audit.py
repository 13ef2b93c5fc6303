"""Recompute every hash of a run and check that its numbers agree with one another; names each faulty artifact."""

import argparse
import logging
from pathlib import Path

from lape.artifact import read_json
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, nargs="?", default=Path("results/default/manifest.json"))


def run(arguments: argparse.Namespace) -> None:
    from lape.audit import audit
    from lape.manifest import is_as_written

    manifest = read_json(arguments.manifest, "manifest")
    try:
        faults = list(audit(manifest))
        if not is_as_written(arguments.manifest, manifest):
            faults.insert(0, (str(arguments.manifest), "is not what the workflow wrote: its seal does not hold"))
    except (KeyError, TypeError, AttributeError) as error:
        raise LapeError(f"{arguments.manifest}: is not a whole manifest ({error!r}); run the workflow again") from error
    for path, fault in faults:
        logger.error("%s: %s", path, fault)
    if faults:
        remedy = "delete the named files and make them again: snakemake --cores all FILE ..."
        raise LapeError(f"{arguments.manifest}: {len(faults)} faults; {remedy}")
    files = sum(1 + len(entry["files"]) for entry in manifest["artifacts"].values())
    logger.info("%s: %d artifacts, %d files, all as they were", arguments.manifest, len(manifest["artifacts"]), files)
