"""List every artifact of a run with the hash of each file, its inputs, parameters, versions and time."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import write_json
from lape.artifacts.manifest import build_manifest

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("headers", type=Path, nargs="+", metavar="HEADER.json", help="headers of the artifacts")
    parser.add_argument("--config", type=Path, required=True, help="the run's config.json")
    parser.add_argument("--report", type=Path, help="the run's report.html, whose hash is listed")
    parser.add_argument("--output", type=Path, required=True, help="manifest.json, in the run's folder")


def run(arguments: argparse.Namespace) -> None:
    run_folder = arguments.output.parent
    manifest = build_manifest(arguments.headers, run_folder, arguments.config, arguments.report)
    write_json(arguments.output, manifest)
    logger.info("%s: %d artifacts, seal %s", arguments.output, len(manifest["artifacts"]), manifest["sha256"])
