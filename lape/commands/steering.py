"""What to steer with: the mean activation of every language's neurons on that language, from the statistics."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--neurons", type=Path, required=True, help="header of the neurons, or of a control")
    parser.add_argument("--statistics", type=Path, nargs="+", required=True, help="statistics header of every language")
    parser.add_argument("--output", type=Path, required=True, help="METHOD.tsv; METHOD.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.interventions.steering import steering_values
    from lape.neurons.table import Neurons
    from lape.statistics.sums import ActivationStatistics

    neurons = Neurons.load(arguments.neurons)
    headers = {path: read_json(path, "statistics") for path in arguments.statistics}
    revision = neurons.summary.get("model_revision")  # a released file names none
    for path, header in headers.items():
        if revision not in (None, header["model_revision"]):
            raise LapeError(
                f"{path}: counted on {header['model']}, another model than the neurons'; pass its statistics"
            )
    files = {path: checked(path, header, ".npz") for path, header in headers.items()}
    values = steering_values(
        neurons, {header["language"]: ActivationStatistics.load(files[path]) for path, header in headers.items()}
    )
    values.save(
        arguments.output,
        model=neurons.summary["model"],
        model_revision=revision,
        method=neurons.summary["method"],
        values="mean activation",
        tokens={header["language"]: header["tokens"] for header in headers.values()},
        inputs=[arguments.neurons, checked(arguments.neurons, neurons.summary, ".tsv"), *files, *files.values()],
    )
    logger.info("steering %s %s: %d values", neurons.summary["model"], neurons.summary["method"], len(values.table))
