"""Recompute every hash of a run and check that its numbers agree with one another; names each faulty artifact.

With --against also whether the run agrees with another one as it must: the same bits where settings and inputs are the
same, counts within a bound where threads, batch size or device are others.
"""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json
from lape.errors import LapeError, counted

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "manifest", type=Path, nargs="?", default=Path("results/default/manifest.json"), help="manifest.json of the run"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="MANIFEST",
        help="manifest of another run to compare with, in the folder where it was made",
    )


def run(arguments: argparse.Namespace) -> None:
    from lape.artifacts.manifest import is_as_written
    from lape.audit.run import audit

    manifest = read_json(arguments.manifest, "manifest")
    try:
        faults = list(audit(manifest))
        if not is_as_written(arguments.manifest, manifest):
            faults.insert(0, (str(arguments.manifest), "is not what the workflow wrote: its seal does not hold"))
    except (KeyError, TypeError, AttributeError) as error:
        raise LapeError(f"{arguments.manifest}: is not a whole manifest ({error!r}); run the workflow again") from error
    remedy = "make what is named again: snakemake --cores all --force FILE ..."
    _refuse(arguments.manifest, faults, remedy)
    files = sum(1 + len(entry["files"]) for entry in manifest["artifacts"].values())
    what = f"{counted(len(manifest['artifacts']), 'artifact')}, {counted(files, 'file')}"
    logger.info("%s: %s, all as they were", arguments.manifest, what)
    if arguments.against is not None:
        _compare(arguments.manifest, arguments.against)


def _compare(manifest: Path, against: Path) -> None:
    """Hold the run to its claims, beside another."""
    from lape.audit.replication import Run, compare

    agreement = compare(Run(manifest), Run(against))
    _refuse(manifest, agreement.faults, f"audit {against}, too, and find out what the two differ in")
    counts = [f"the same bits as in {against}, as they must be: {counted(len(agreement.same), 'artifact')}"]
    if agreement.flips:
        most = f"at most {max(agreement.flips.values()):.3g} of a million activations changed sides"
        number = counted(len(agreement.flips), "file")
        counts.append(f"within the bound of other settings: {number} of statistics ({most})")
    counts.append(f"nothing is claimed of {counted(len(agreement.unclaimed), 'artifact')}")
    logger.info("%s: %s", manifest, ", ".join(counts))


def _refuse(manifest: Path, faults: list[tuple[str, str]], remedy: str) -> None:
    """Name every fault, one a line, and end, if there are any."""
    for path, fault in faults:
        logger.error("%s: %s", path, fault)
    if faults:
        raise LapeError(f"{manifest}: {counted(len(faults), 'fault')}; {remedy}")
